"""A runtime that compiles for one device is one file: a sweep compiles in a step of its own, once for each machine."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.planning.routes import Routes
from deploykit.runtimes._compile import COMPILED
from deploykit.runtimes._contract import RUNTIMES
from deploykit.testing import models
from deploykit.testing.runtimes import RuntimeConformance

_SPACE = dk.Space([Recipe((Step("quantize_dynamic"),))], [Target("onnxruntime"), Target("compiled")])
_HERE = Target("compiled")
_ENTRY_POINTS = "[deploykit.runtimes]\ncompiled = compiled_runtime:ADAPTER\n"


@pytest.fixture(autouse=True)
def installed(install):
    install(Path(__file__).parent / "example" / "compiled_runtime.py", _ENTRY_POINTS)


@pytest.fixture
def model(tmp_path):
    return dk.load(models.build("cnn_onnx", tmp_path))


@pytest.fixture
def data(model):
    rng = np.random.default_rng(0)
    found = dk.Dataset.from_arrays(rng.random((60, 1, 8, 8)).astype(np.float32), rng.integers(0, 3, 60))
    return found.check(model)


class TestItsConformance(RuntimeConformance):
    @pytest.fixture
    def name(self):
        return "compiled"

    @pytest.fixture
    def model(self, tmp_path):
        return models.build("cnn_onnx", tmp_path), "onnx", (1, 8, 8)


def sweep(model, data, store):
    return dk.sweep(model, data, _SPACE, store=store, launches=2, progress=lambda _p: None)


def compiled(store):
    """Keys of what was compiled into a store."""
    return {path.parent.name for path in Path(store).glob(f"steps/*/{COMPILED}")}


def test_the_plan_compiles_last_and_for_this_device(model, data, monkeypatch):
    plan = dk.plan(model, data, _SPACE)
    portable, own = (c for c in plan.candidates if c.candidate.recipe.steps)
    assert [plan.steps[key].kind for key in own.steps] == ["prepare", "transform", "compile"]
    assert own.artifact_steps == portable.steps, "what is compiled is the artifact that runs anywhere"
    assert own.format == "onnx"
    assert "compile for Example compiler on this machine (cpu)" in plan._repr_html_()
    assert "2 compiled for this machine" in str(plan)
    assert plan.expected.steps == 5, "the original model, its graph, its quantization, and both compiled"

    def key(**changes):
        return Routes(model, data, 0).find(Recipe(), Target("compiled", **changes)).key

    before = key()
    assert key(threads=2) == before
    assert key(batch_size=4) != before
    monkeypatch.setenv("EXAMPLE_DEVICE", "abacus 2.0")
    assert key() != before


def test_a_sweep_compiles_once_and_measures_what_it_has_compiled(model, data, tmp_path):
    report = sweep(model, data, tmp_path / "s")
    assert {row.status for row in report.rows} == {"measured"}
    own = [row for row in report.rows if row.candidate.target == _HERE]
    assert {Path(row.compiled).parent.name for row in own} == compiled(tmp_path / "s")
    portable = {row.candidate.recipe.key: row for row in report.rows if row.candidate.target != _HERE}
    for row in own:
        beside = portable[row.candidate.recipe.key]
        assert (row.artifact, row.format) == (beside.artifact, "onnx"), "exports and servers get what runs anywhere"
        assert row.measurement.size_bytes == beside.measurement.size_bytes
        assert row.measurement.score.value == pytest.approx(beside.measurement.score.value, abs=0.1)
        assert row.measurement.seconds["compile"] > 0
        assert "compile" not in beside.measurement.seconds
        assert row.notes["compiled"]["nodes"] > 0
    done = dk.plan(model, data, _SPACE, store=tmp_path / "s", launches=2).expected
    assert (done.steps, done.evaluations, done.sessions) == (0, 0, 0)
    again = sweep(model, data, tmp_path / "s")
    assert [r.measurement.latency for r in again.rows] == [r.measurement.latency for r in report.rows]
    dk.clean(tmp_path / "s")
    assert {Path(row.compiled).parent.name for row in own} == compiled(tmp_path / "s"), "rows name it"


@pytest.mark.long
def test_a_store_on_another_machine_compiles_again_and_never_reuses(model, data, tmp_path, monkeypatch):
    sweep(model, data, tmp_path / "s")
    before = compiled(tmp_path / "s")
    shutil.copytree(tmp_path / "s", tmp_path / "moved")
    monkeypatch.setenv("EXAMPLE_DEVICE", "abacus 2.0")
    left = dk.plan(model, data, _SPACE, store=tmp_path / "moved", launches=2).expected
    assert left.steps == 2, "nothing but the compiled files"
    report = sweep(model, data, tmp_path / "moved")
    assert {row.status for row in report.rows} == {"measured"}
    new = {Path(row.compiled).parent.name for row in report.rows if row.compiled}
    assert len(new) == len(before) == 2
    assert not new & before


def test_what_is_built_without_a_sweep_runs_anywhere(model, data, monkeypatch):
    built = dk.build(model, Recipe((Step("quantize_dynamic"),)), data, target="compiled")
    assert built.exportable().format == "onnx"
    monkeypatch.setenv("EXAMPLE_DEVICE", "abacus 2.0")
    assert built.predict(np.zeros((2, 1, 8, 8), np.float32)), "it is compiled as it is opened"


def test_a_profile_is_of_what_was_compiled(tmp_path):
    class Profiled(type(RUNTIMES.get("compiled"))):
        profiles = True

        def _profile(self, path, target, inputs, runs):
            self._open(path, target)  # only a compiled file can be opened
            return ()

    path = models.build("cnn_onnx", tmp_path)
    assert Profiled().profile(path, _HERE, "onnx", [], 1) == ()


def test_elsewhere_sessions_compile_for_themselves(model, data):
    route = Routes(model, data, 0, compiling=False).find(Recipe(), _HERE)
    assert not route.compiled
    assert route.steps == ()

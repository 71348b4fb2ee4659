"""What finished work is kept under: the versions of what did it and the seed of what is random, and nothing else."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import deploykit as dk
from deploykit.core import registry
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.errors import SettingError
from deploykit.core.tools import Tool
from deploykit.measuring.environment import hardware, here
from deploykit.planning.protocol import Protocol, measurement_key
from deploykit.planning.routes import Routes
from deploykit.planning.steps import tools
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sweeping.questions import Question, pass_name
from deploykit.testing import models
from deploykit.transforms._contract import TRANSFORMS, Family, Stage, Transform, Variant

_EXAMPLE = Path(__file__).parents[1] / "contract" / "example" / "reference_runtime.py"
_SPACE = dk.Space(recipes=[], targets=[Target("onnxruntime"), Target("reference")])


def install(folder, version, *, previous=None):
    """The example runtime as pip leaves it; its distribution is not called like its module."""
    if previous:
        shutil.rmtree(folder / f"slow_reference-{previous}.dist-info")
    metadata = folder / f"slow_reference-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: slow-reference\nVersion: {version}\n")
    (metadata / "entry_points.txt").write_text("[deploykit.runtimes]\nreference = reference_runtime:ADAPTER\n")


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Folder of an installed plug-in."""
    folder = tmp_path / "site"
    folder.mkdir()
    shutil.copy(_EXAMPLE, folder)
    install(folder, "1.0")
    monkeypatch.syspath_prepend(str(folder))
    registry._all_entry_points.cache_clear()
    yield folder
    monkeypatch.undo()
    registry._all_entry_points.cache_clear()


def pretend(monkeypatch, name, **versions):
    """Let a runtime's packages have other versions."""
    kind = type(RUNTIMES.get(name))
    usual = RUNTIMES.get(name).versions()
    monkeypatch.setattr(kind, "versions", lambda _self: {**usual, **versions})


def key(runtime):
    return measurement_key("a" * 64, Target(runtime), "d" * 64, hardware(), Protocol())


@pytest.mark.long
def test_a_plugin_that_is_upgraded_is_measured_again_and_nothing_else_is(plugin, tmp_path):
    model = dk.load(models.build("cnn_onnx", tmp_path))
    rng = np.random.default_rng(0)
    data = dk.Dataset.from_arrays(rng.random((60, 1, 8, 8)).astype(np.float32), rng.integers(0, 3, 60))
    store = tmp_path / "s"
    report = dk.sweep(model, data, _SPACE, store=store, launches=2, progress=lambda _p: None)
    assert report.rows[1].measurement.environment["packages"]["slow-reference"] == "1.0"
    done = dk.plan(model, data, _SPACE, store=store, launches=2).expected
    assert (done.evaluations, done.sessions) == (0, 0)
    install(plugin, "2.0", previous="1.0")
    left = dk.plan(model, data, _SPACE, store=store, launches=2).expected
    assert left.evaluations == 1
    assert left.sessions == 3, "the plug-in, the baseline and its clone"
    again = dk.sweep(model, data, _SPACE, store=store, launches=2, progress=lambda _p: None)
    assert again.rows[0].measurement.latency == report.rows[0].measurement.latency
    assert again.rows[1].measurement.latency != report.rows[1].measurement.latency
    assert again.rows[1].measurement.environment["packages"]["slow-reference"] == "2.0"


def test_the_key_of_a_latency_has_the_versions_of_its_own_runtime(monkeypatch):
    before = {name: key(name) for name in ("onnxruntime", "litert")}
    pretend(monkeypatch, "onnxruntime", onnxruntime="99.0")
    assert key("onnxruntime") != before["onnxruntime"]
    assert key("litert") == before["litert"]
    assert "packages" not in hardware(), "what is installed besides is shown and keys nothing"
    assert here()["packages"]["numpy"] == np.__version__


@pytest.mark.long
def test_a_speedup_over_another_baseline_is_another_one(plugin, tmp_path):
    model = dk.load(models.build("cnn_onnx", tmp_path))
    data = dk.Dataset.from_arrays(np.ones((60, 1, 8, 8), np.float32), np.arange(60) % 3)
    store = tmp_path / "s"
    dk.sweep(model, data, _SPACE, store=store, launches=2, progress=lambda _p: None)
    other = dk.Space(recipes=[], targets=[Target("reference"), Target("onnxruntime")])
    report = dk.sweep(model, data, other, store=store, launches=2, progress=lambda _p: None)
    slow, fast = report.rows
    assert report.baseline == slow.key
    assert slow.measurement.latency.speedup.value == 1
    assert fast.measurement.latency.speedup.value > 1


def test_a_distribution_need_not_be_called_like_its_module(tmp_path, monkeypatch):
    (tmp_path / "odd_module.py").write_text("")
    metadata = tmp_path / "odd_module_gpu-3.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-module-gpu\nVersion: 3.1\n")
    (metadata / "RECORD").write_text("odd_module.py,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    class Odd(Transform):
        name = label = "odd"
        requires = ("odd_module",)
        family = Family("noise", "cross", 90)
        variants = ()

    assert Odd().versions() == {"odd-module-gpu": "3.1"}


# -- seeds ------------------------------------------------------------------------------------------------------------


class Prepared(Stage):
    name = "test_prepared"
    label = "preparation"
    needs = ("calibration",)
    seeded = False

    def _prepare(self, job):
        shutil.copy(job.source, job.target / "model.onnx")


class Noisy(Variant):
    """Adds noise to the file, without data, or behind a stage that reads some."""

    name = "noisy"
    label = "noise"
    accepts = frozenset({"onnx"})
    produces = "onnx"

    def _apply(self, job):
        source = job.source / "model.onnx" if job.source.is_dir() else job.source
        noise = np.random.default_rng(job.seed).integers(0, 1000)
        import onnx

        model = onnx.load(str(source))
        model.doc_string = f"noise {noise}"
        onnx.save(model, str(job.target))


class NoisyBehind(Noisy):
    needs = ("calibration",)
    stages = (Prepared(),)


class Sure(Noisy):
    seeded = False


def technique(variant):
    class Noise(Transform):
        name = "noise"
        label = "noise"
        family = Family("noise", "cross", 90)
        variants = (variant,)

    return Noise()


@pytest.fixture
def offered(monkeypatch):
    """Put a variant's technique into the registry."""

    def offer(variant):
        usual = type(TRANSFORMS).get
        made = technique(variant)
        monkeypatch.setattr(type(TRANSFORMS), "get", lambda self, name: made if name == "noise" else usual(self, name))

    return offer


def route(model, data, seed):
    return Routes(model, data, seed).find(Recipe((Step("noise"),)), Target("onnxruntime")).steps


@pytest.mark.parametrize("variant", [Noisy(), NoisyBehind()])
def test_what_is_random_has_its_seed_in_its_key(variant, offered, onnx_model, images):
    offered(variant)
    first, second, same = (route(onnx_model, images, seed) for seed in (0, 1, 0))
    assert first[-1].key != second[-1].key
    assert first == same
    assert [s.key for s in first[:-1]] == [s.key for s in second[:-1]], "what is not random is shared"


def test_what_is_not_random_is_shared_by_all_seeds(offered, onnx_model, images):
    offered(Sure())
    assert route(onnx_model, images, 0) == route(onnx_model, images, 1)
    for name, parameters in (("quantize_static", {"per_channel": True}), ("quantize_dynamic", {})):
        recipe = Recipe((Step(name, parameters),))
        found = [Routes(onnx_model, images, seed).find(recipe, Target("onnxruntime")).steps for seed in (0, 1)]
        assert found[0] == found[1]


def test_a_final_step_that_reads_data_gets_them_behind_a_stage_that_does(offered, onnx_model, images):
    offered(NoisyBehind())
    assert [step.needs_data for step in route(onnx_model, images, 0)] == [True, True]
    static = Routes(onnx_model, images, 0).find(Recipe((Step("quantize_static"),)), Target("onnxruntime")).steps
    assert [step.needs_data for step in static] == [False, True, False]


class Taught(Noisy):
    needs = ("teacher",)


def test_the_original_model_is_in_the_key_of_what_reads_it(monkeypatch, onnx_model, images):
    """Though it is not what comes before the step."""
    usual, keys = type(TRANSFORMS).get, {}
    for variant in (Taught(), Noisy()):
        made = technique(variant)
        monkeypatch.setattr(
            type(TRANSFORMS), "get", lambda self, name, made=made: made if name == "noise" else usual(self, name)
        )
        recipe = Recipe((Step("quantize_dynamic"), Step("noise")))
        last = Routes(onnx_model, images, 0).find(recipe, Target("onnxruntime")).steps[-1]
        assert (last.needs, last.needs_data) == (variant.needs, False)
        keys[type(variant)] = last.key
    assert keys[Taught] != keys[Noisy]


# -- tools ------------------------------------------------------------------------------------------------------------


def test_the_tools_of_work_have_versions(onnx_model, images):
    static = Routes(onnx_model, images, 0).find(Recipe((Step("quantize_static"),)), Target("onnxruntime")).steps
    found = tools(static, ["onnxruntime"])
    assert found == {
        Tool("deploykit.transforms", "quantize_static", "onnxruntime"), Tool("deploykit.runtimes", "onnxruntime")
    }  # fmt: skip
    import onnx
    import onnxruntime

    versions = {k: v for tool in found for k, v in tool.versions().items()}
    assert versions == {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}


def test_a_tool_that_is_not_here_says_so():
    with pytest.raises(SettingError, match="no_such"):
        Tool("deploykit.runtimes", "no_such").versions()


def test_a_pass_over_layers_depends_on_the_tools_that_can_make_its_candidates(monkeypatch):
    question = Question("quantize_dynamic", {}, Target("onnxruntime"))
    before = pass_name("context", question, 0)
    pretend(monkeypatch, "tensorflow", tensorflow="99.0")
    other = next(v for v in TRANSFORMS.get("quantize_dynamic").variants if v.produces == "tflite")
    monkeypatch.setattr(type(other), "versions", lambda _self: {"tensorflow": "99.0"})
    assert pass_name("context", question, 0) == before
    pretend(monkeypatch, "onnxruntime", onnxruntime="99.0")
    assert pass_name("context", question, 0) != before

"""Timed candidates are profiled once, on the engine, and say why they are as fast as they are."""

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.storage.store import Store
from deploykit.testing import models

pytestmark = [pytest.mark.alone, pytest.mark.long]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profiling")
    model = dk.load(models.build("cnn_onnx", folder))
    rng = np.random.default_rng(0)
    data = dk.Dataset.from_arrays(rng.random((60, 1, 8, 8)).astype(np.float32), rng.integers(0, 3, 60))
    space = dk.Space([Recipe((Step("quantize_static"),))], [Target("onnxruntime"), Target("openvino")])

    def run():
        return dk.sweep(model, data, space, store=folder / "s", launches=2, progress=lambda _p: None)

    return run


@pytest.mark.long
def test_each_quantized_candidate_is_profiled_beside_float32_on_its_runtime(swept):
    report = swept()
    found = {r.candidate.target.runtime: r.measurement for r in report.rows if r.candidate.recipe.steps}
    assert set(found) == {"onnxruntime", "openvino"}
    assert all(m.profile for m in found.values())
    kernels = {x["kernel"] for r in report.rows if r.measurement.profile for x in report.choice_for(r.key).layers()}
    assert any("QLinear" in k for k in kernels)
    assert any("I8" in k for k in kernels)
    assert not any(r.measurement.profile for r in report.rows if not r.candidate.recipe.steps)  # beside itself


def test_a_second_sweep_profiles_nothing_anew(swept):
    report = swept()
    store = Store(report.path)
    marked = {key: {**record, "ms": 123.0} for key, record in store.records("profile").items()}
    for key, record in marked.items():
        store.put_record("profile", key, record)
    again = swept()
    assert {r.key: r.measurement.profile for r in again.rows} == {r.key: r.measurement.profile for r in report.rows}
    assert store.records("profile") == marked


def test_runtimes_that_are_not_tried_by_default_are_named(swept):
    report = swept()
    assert {r.candidate.target.runtime for r in report.rows} == {"onnxruntime", "openvino"}
    default = dk.plan(report.model, report.data, dk.Space([]))
    assert {c.candidate.target.runtime for c in default.candidates} == {"onnxruntime", "litert", "tensorflow"}

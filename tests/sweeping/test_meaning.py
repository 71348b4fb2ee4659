"""Sweeps measure what is meant: state, other outputs, exact copies, batches, and models that cannot be trained."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import deploykit as dk
from deploykit.converters._contract import CONVERTERS
from deploykit.core.errors import DatasetError
from tests.measuring import variants
from tests.runtimes.test_feeding import SAID, WEIGHT, recurrent

pytestmark = [pytest.mark.alone, pytest.mark.long]

G = np.random.default_rng(0)


def swept(model, data, folder, space="quick", **options):
    return dk.sweep(model, data, space, launches=0, store=folder / "store", progress=lambda *_: None, **options)


def value(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def two_heads(folder):
    """Class scores that quantize well, and a small value that vanishes beside large ones when it is quantized."""
    wide = G.normal(size=(64, 64)).astype("f")
    scores, fine = G.normal(size=(64, 4)).astype("f"), G.normal(size=(64, 1)).astype("f") * 1e-3
    nodes = [
        helper.make_node("MatMul", ["x", "wide"], ["a"]),
        helper.make_node("Relu", ["a"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "scores"], ["class"]),
        helper.make_node("MatMul", ["hidden", "fine"], ["small"]),
        helper.make_node("Mul", ["small", "large"], ["value"]),
    ]
    constants = {"wide": wide, "scores": scores, "fine": fine, "large": np.float32(1e3)}
    graph = helper.make_graph(
        nodes, "heads", [value("x", "n", 64)], [value("class", "n", 4), value("value", "n", 1)],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )  # fmt: skip
    path = folder / "heads.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return dk.load(path)


def bare(path, feeds):
    return ort.InferenceSession(str(path)).run(None, feeds)


@pytest.mark.long
def test_other_outputs_are_judged_beside_the_original(tmp_path):
    model = two_heads(tmp_path)
    x = G.normal(size=(400, 64)).astype("f")
    labels = bare(model.path, {"x": x})[0].argmax(axis=1)
    report = swept(model, dk.Dataset.from_arrays(x, labels), tmp_path)
    int8 = next(row for row in report.rows if "int8 static" in row.label and row.status != "failed")
    batch = report.data.batch("evaluation")
    ours = bare(report.choice_for(int8.key).exportable().path, {"x": batch["x"]})[1].astype(float)
    wanted = bare(model.path, {"x": batch["x"]})[1].astype(float)
    spread = np.abs(wanted - wanted.mean(axis=0)).mean(axis=0)
    assert int8.measurement.others["value"].error == pytest.approx(
        (np.abs(ours - wanted).mean(axis=0) / spread).max(), rel=0.05
    )
    assert report.row(report.baseline).measurement.others == {}  # it is the original
    assert report.to_frame()["output_error"].max() == max(
        judged.error for row in report.rows if row.measurement for judged in row.measurement.others.values()
    )


def test_a_candidate_that_ruins_another_output_is_not_chosen(tmp_path):
    model = two_heads(tmp_path)
    x = G.normal(size=(400, 64)).astype("f")
    labels = bare(model.path, {"x": x})[0].argmax(axis=1)
    report = swept(model, dk.Dataset.from_arrays(x, labels), tmp_path)
    loose = report.best(minimize="size", max_output_error=100, max_drop=1.0)
    error = loose.measurement.others["value"].error
    assert error > 0
    strict = report.best(minimize="size", max_output_error=error / 2, max_drop=1.0)
    assert strict.key != loose.key
    assert all(judged.error <= error / 2 for judged in strict.measurement.others.values())


def test_a_stateful_model_is_evaluated_as_the_sequences_it_is_given(tmp_path):
    model = recurrent(tmp_path)
    x = G.normal(size=(60, 4, 2)).astype("f")
    report = swept(
        model, dk.Dataset.from_arrays({"x": x}), tmp_path, state={"hN": "h"}, constants={"rate": 10}
    )  # fmt: skip
    assert report.contract.sequences
    assert report.declared == {"state": SAID.state, "constants": SAID.constants}
    found = report.choice_for(report.baseline).outputs()
    steps, state, wanted = report.data.batch("evaluation")["x"], 0, []
    for step in range(4):
        state = np.tanh(steps[:, step] @ WEIGHT + state)
        wanted.append(10 * state)
    np.testing.assert_allclose(found, np.stack(wanted, axis=1), rtol=1e-4)


def test_a_model_that_no_technique_trains_is_evaluated_on_more(monkeypatch):
    monkeypatch.setattr(CONVERTERS.get("tflite_to_onnx"), "accepts", "")  # ONNX files can be trained
    x, y, _ = variants.tutorial(1000)
    data = dk.Dataset.from_arrays(
        x, y, preprocess=dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1)), calibration_size=100
    )
    model = dk.load(Path(__file__).parents[2] / "notebooks" / "models" / "fashion_cnn.tflite")
    plan = dk.plan(model, data, "quick")
    assert plan.evaluation_examples == round(0.6 * 900)
    assert any("cannot be trained" in note for note in plan.reading.notes)


@pytest.mark.long
def test_what_the_first_output_is_does_not_depend_on_the_command(tmp_path):
    model = variants.save(tmp_path, "two", variants.two_outputs())
    x, y, _ = variants.tutorial(600)
    data = dk.Dataset.from_arrays(x, y, preprocess=dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1)))
    assert dk.examine(model, data).contract.scored.name == model.outputs[0].name == "aux"
    plan = dk.plan(model, data, "quick", output="class")
    assert plan.contract.scored.name == "class"
    report = swept(model, data, tmp_path, output="class")
    assert report.contract == plan.contract
    batch = report.data.batch("evaluation")
    right = bare(model.path, batch)[1].argmax(axis=1) == report.data.labels()
    assert report.row(report.baseline).measurement.score.value == pytest.approx(right.mean())


def test_two_meanings_are_asked_before_any_work(tmp_path):
    model = recurrent(tmp_path)
    with pytest.raises(DatasetError, match="Nothing feeds h, rate"):
        swept(model, dk.Dataset.from_arrays({"x": np.zeros((60, 2), "f")}), tmp_path)
    assert not (tmp_path / "store").exists()

"""Tasks from end to end: the model, its data, a sweep, and what the report says of the metric."""

import jiwer
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.metrics import jaccard_score

import deploykit as dk

LETTERS = ["<pad>", "|", "a", "b", "c", "d"]
SPACE = dk.Space([dk.Recipe((dk.Step("quantize_dynamic"),))], [dk.Target("onnxruntime")])


def linear(path, weights, shape):
    """A model of one product along the last axis."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", *shape[:-1], weights.shape[1]])],
        [numpy_helper.from_array(weights.astype(np.float32), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return dk.load(path)


def swept(model, data, folder, **options):
    return dk.sweep(model, data, SPACE, store=folder, launches=0, progress=lambda _p: None, **options)


@pytest.mark.long
def test_speech(tmp_path):
    rng = np.random.default_rng(0)
    steps = rng.integers(0, len(LETTERS), (120, 12))
    frames = np.eye(len(LETTERS))[steps] + rng.normal(0, 0.3, (120, 12, len(LETTERS)))
    spoken = []
    for row in steps.tolist():
        kept = [c for i, c in enumerate(row) if c and (not i or row[i - 1] != c)]
        spoken.append(" ".join("".join(LETTERS[c] for c in kept).replace("|", " ").split()))
    data = dk.Dataset.from_arrays(frames.astype(np.float32), spoken, classes=LETTERS)
    model = linear(tmp_path / "m.onnx", np.eye(len(LETTERS)), (12, len(LETTERS)))
    report = swept(model, data, tmp_path / "s")
    assert report.metric == "word_error_rate"
    base = report.row(report.baseline).measurement.score
    held = data.splits["evaluation"]
    answers = []
    for row in next(iter(held.inputs.values())).argmax(axis=-1).tolist():
        kept = [c for i, c in enumerate(row) if c and (not i or row[i - 1] != c)]
        answers.append(" ".join("".join(LETTERS[c] for c in kept).replace("|", " ").split()))
    assert base.value == pytest.approx(jiwer.wer(held.labels.tolist(), answers), abs=1e-9)
    assert {"character_error_rate", "bleu"} <= {s.metric for s in report.row(report.baseline).measurement.scores}
    assert "text" in str(report.contract)


@pytest.mark.long
def test_a_lost_class_of_masks_is_named(tmp_path):
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, (90, 4, 4))
    labels = np.where(rng.random(classes.shape) < 0.1, rng.integers(0, 3, classes.shape), classes)
    # Class 2 has weights that eight bits a tensor round to zero.
    model = linear(tmp_path / "m.onnx", np.diag([1.0, 1.0, 0.003]), (4, 4, 3))
    data = dk.Dataset.from_arrays(np.eye(3, dtype=np.float32)[classes], labels, classes=["sky", "road", "car"])
    report = swept(model, data, tmp_path / "s")
    assert report.metric == "mean_iou"
    assert "the metric is mean IoU: each position of a mask has one class" in str(report)
    base, int8 = report.rows
    held = data.splits["evaluation"]
    wanted = jaccard_score(held.labels.ravel(), held.inputs["input"].argmax(axis=-1).ravel(), average="macro")
    assert base.measurement.score.value == pytest.approx(wanted, abs=1e-9)
    assert base.measurement.collapsed == ()
    choice = report.choice_for(int8.key, minimize="size", max_drop=0.01)
    assert "Collapsed: class car (IoU" in str(choice.verdict())
    assert "Collapsed: car (IoU" in choice.classes().summary()

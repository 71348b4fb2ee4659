"""Neurons that answer least become zero, held against NumPy on what the bare ONNX Runtime computes."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from deploykit.core.errors import UnsupportedModelError
from deploykit.data.dataset import Dataset
from deploykit.data.preprocess import Preprocess
from deploykit.testing import work
from tests.surgery import graphs

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def tensors(model, x, names):
    """What the bare runtime computes for some tensors."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(made.SerializeToString())
    return dict(zip(names, session.run(list(names), {session.get_inputs()[0].name: x}), strict=True))


def prune(name, tmp_path, model=None, **settings):
    model = model or graphs.graph(name)
    onnx.save(model, str(tmp_path / "model.onnx"))
    Dataset.from_arrays({"x": graphs.examples(name, 80)}, calibration_size=60).save(tmp_path / "data")
    notes = work.transformed(
        "prune_activation", "onnx", tmp_path / "model.onnx", tmp_path / "out", tmp_path / "data", **settings
    )
    seen = Dataset.open(tmp_path / "data").calibration()["x"]
    return notes, model, onnx.load(str(tmp_path / "out")), seen


def constants(model):
    """Constants by the node that reads them and the place."""
    values = graphs.weights(model)
    return {(n.name, k): values[i] for n in model.graph.node for k, i in enumerate(n.input) if i in values}


@pytest.mark.parametrize("measure", ["mean", "zeros"])
def test_the_quietest_channels_become_zero(measure, tmp_path):
    notes, model, made, seen = prune("chain", tmp_path, sparsity=0.5, measure=measure)
    found = tensors(model, seen, ["b", "c"])
    before, after = constants(model), constants(made)
    for layer, tensor, count in (("layer_a", "b", 4), ("layer_c", "c", 3)):
        sizes = np.abs(found[tensor]).mean((0, 2, 3), dtype=np.float64)
        busy = (found[tensor] != 0).mean((0, 2, 3))
        order = np.argsort(sizes) if measure == "mean" else np.lexsort((sizes, busy))
        gone = order[:count]
        stays = np.setdiff1d(np.arange(len(order)), gone)
        assert (after[layer, 1][gone] == 0).all()
        np.testing.assert_array_equal(after[layer, 1][stays], before[layer, 1][stays])
    assert (after["layer_a", 2] == 0).sum() == 4, "biases go as well"
    np.testing.assert_array_equal(after["layer_y", 1], before["layer_y", 1])
    assert notes["left_dense"] == ["layer_y"]
    assert notes["sparsity_by_layer"]["layer_a"] == 0.5


def test_the_measures_differ(tmp_path):
    model = graphs.graph("chain")
    bias = next(t for t in model.graph.initializer if t.name == "b1")
    values = np.full(8, 1.0, np.float32)
    values[3] = -9.0  # mostly 0
    bias.CopyFrom(numpy_helper.from_array(values, "b1"))
    weights = next(t for t in model.graph.initializer if t.name == "w1")
    kernels = numpy_helper.to_array(weights).copy()
    kernels[5] *= 1e-3  # small, and never 0
    kernels[3] *= 8.0
    weights.CopyFrom(numpy_helper.from_array(kernels, "w1"))
    gone = {}
    for measure in ("mean", "zeros"):
        (tmp_path / measure).mkdir()
        *_, made, _ = prune("chain", tmp_path / measure, model, sparsity=0.1, measure=measure)
        gone[measure] = np.flatnonzero((graphs.weights(made)["w1"] == 0).all((1, 2, 3))).tolist()
    assert gone == {"mean": [5], "zeros": [3]}


@pytest.mark.parametrize("name", ["residual", "depthwise", "attention", "grouped"])
def test_a_pruned_channel_is_zero_before_its_activation(name, tmp_path):
    _, model, made, _ = prune(name, tmp_path, sparsity=0.5)
    before, after = constants(model), constants(made)
    ends = {"residual": {"layer_a": "n"}, "attention": {"layer_q0": "q1"}}.get(name, {})
    x = graphs.examples(name)
    pruned = 0
    for node in made.graph.node:
        if node.op_type not in {"Conv", "MatMul"} or (node.name, 1) not in after:
            continue
        kernel = after[node.name, 1]
        rows = kernel.reshape(len(kernel), -1) if node.op_type == "Conv" else kernel.T
        gone = (rows == 0).all(1)
        if not gone.any():
            np.testing.assert_array_equal(kernel, before[node.name, 1])
            continue
        pruned += 1
        assert gone.sum() == len(gone) / 2
        end = ends.get(node.name, node.output[0])
        found = np.moveaxis(tensors(made, x, [end])[end], 1 if node.op_type == "Conv" else -1, 0)
        assert (found[gone] == 0).all()
        assert (found[~gone] != 0).any()
    assert pruned >= 2


def test_the_tutorials_model_keeps_its_accuracy_at_a_small_share(tmp_path):
    scaled = Preprocess(scale=1 / 255, reshape=(28, 28, 1))
    data = Dataset.from_npz(NOTEBOOKS / "data" / "fashion-mnist.npz", preprocess=scaled, calibration_size=300)
    data.save(tmp_path / "data")
    source = NOTEBOOKS / "models" / "fashion_cnn.onnx"
    arrays = np.load(NOTEBOOKS / "data" / "fashion-mnist.npz")
    x, y = (arrays["x_test"][:1000, ..., None] / 255).astype(np.float32), arrays["y_test"][:1000]
    notes = work.transformed("prune_activation", "onnx", source, tmp_path / "out", tmp_path / "data", sparsity=0.1)
    right = []
    for path in (source, tmp_path / "out"):
        session = onnxruntime.InferenceSession(str(path))
        right.append(float((session.run(None, {"image": x})[0].argmax(1) == y).mean()))
    assert right[1] > right[0] - 0.05
    assert notes["sparsity"] > 0.1


def test_a_model_of_one_layer_is_refused(tmp_path):
    model = graphs.graph("chain")
    for layer in ("layer_a", "layer_c"):
        assert any(n.name == layer for n in model.graph.node)
    with pytest.raises(UnsupportedModelError, match="No neuron of the model can be pruned"):
        prune("chain", tmp_path, sparsity=0.5, exclude="Conv")

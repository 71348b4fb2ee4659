"""Learned rounding in ONNX files: what layers give is nearer, by the bare runtime, and nothing else changes."""

import copy

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnxruntime import InferenceSession

from deploykit.core.errors import DatasetError
from deploykit.data.dataset import Dataset
from deploykit.loading.onnx import ADAPTER as ONNX
from deploykit.testing import work
from deploykit.transforms._contract import TRANSFORMS
from tests.surgery import graphs

pytestmark = pytest.mark.long


def saved(name, folder, count=48):
    """A graph whose inputs hang together, and calibration data."""
    model = graphs.graph(name)
    onnx.save(model, folder / "model.onnx")
    x = np.maximum(graphs.examples(name, 48) + 0.5, 0)
    Dataset.from_arrays(x, x_test=x, calibration_size=count).save(folder / "data")
    return model, x


def dequantized(model, path):
    """int8 constants in float under the names of the original's weights, with the steps they are on."""
    made = onnx.load(path)
    values = graphs.weights(made)
    found = {}
    for node in made.graph.node:
        name = node.input[0].removesuffix("_quantized")
        if node.op_type == "DequantizeLinear" and name in graphs.weights(model) and values[node.input[0]].ndim > 1:
            assert values[node.input[0]].dtype == np.int8
            scale, whole = values[node.input[1]], values[node.input[0]].astype(np.float32)
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
            steps = scale if scale.size == 1 else scale.reshape([-1 if k == axis else 1 for k in range(whole.ndim)])
            found[name] = whole * steps, np.broadcast_to(steps, whole.shape)
    return found


def error(model, x, weight, values):
    """The sum of squares of what one layer of the float model is off with other weights."""
    node = next(n for n in model.graph.node if weight in n.input)
    made = copy.deepcopy(model)
    del made.graph.output[:]
    made.graph.output.append(onnx.ValueInfoProto(name=node.output[0]))
    given = InferenceSession(made.SerializeToString()).run(None, {"x": x})[0]
    tensor = next(t for t in made.graph.initializer if t.name == weight)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(values, np.float32), weight))
    return np.square(InferenceSession(made.SerializeToString()).run(None, {"x": x})[0] - given).sum()


@pytest.mark.parametrize(
    ("name", "per_channel"), [("depthwise", False), ("grouped", True), ("attention", True), ("chain", False)]
)
def test_what_layers_give_in_int8_is_nearer_with_weights_down_or_up(name, per_channel, tmp_path):
    model, x = saved(name, tmp_path)
    found, notes = {}, {}
    for rounding in ("nearest", "learned"):
        path, settings = tmp_path / rounding, {"per_channel": per_channel, "rounding": rounding}
        notes[rounding] = work.transformed(
            "quantize_static", "onnxruntime", tmp_path / "model.onnx", path, tmp_path / "data", **settings
        )
        found[rounding] = dequantized(model, path)
    assert found["nearest"].keys() == found["learned"].keys() != set()
    shares = notes["learned"]["rounding"]
    assert len(shares) == len(found["learned"])
    assert "rounding" not in notes["nearest"]
    shapes = {key: value.shape for key, value in graphs.weights(onnx.load(tmp_path / "nearest")).items()}
    assert {key: value.shape for key, value in graphs.weights(onnx.load(tmp_path / "learned")).items()} == shapes
    helped = 0
    for weight, (values, steps) in found["learned"].items():
        usual = found["nearest"][weight]
        np.testing.assert_array_equal(usual[1], steps)
        assert np.abs(values - graphs.weights(model)[weight]).max() < steps.max() * 1.001
        layer = next(n.name for n in model.graph.node if weight in n.input)
        before, after = (error(model, x, weight, v) for v in (usual[0], values))
        if shares[layer] < 1:
            helped += after < before
        else:
            np.testing.assert_array_equal(values, usual[0])
    assert helped >= len(shares) - 1 > 0


def test_few_bits_learn_in_blocks_and_convolutions_in_channels(tmp_path):
    model, x = saved("flattened", tmp_path)
    outputs, convolutions = {}, {}
    for method in ("rtn", "learned"):
        settings = {"method": method, "bits": 4, "block": "16", "symmetric": False}
        notes = work.transformed(
            "quantize_weights", "onnxruntime", tmp_path / "model.onnx", tmp_path / method, tmp_path / "data", **settings
        )
        first = next(w for w in ONNX.weights(tmp_path / method) if w.stored == "int4")
        outputs[method] = error(model, x, "w2", first.load())
        made = graphs.weights(onnx.load(tmp_path / method))
        whole, scale = (made[f"layer_a/w1_int8{end}"] for end in ("", "_scale"))
        convolutions[method] = error(model, x, "w1", whole * scale.reshape(-1, 1, 1, 1))
    assert outputs["learned"] < 0.8 * outputs["rtn"]
    assert convolutions["learned"] < convolutions["rtn"]
    assert notes["rounding"].keys() == {"layer_a", "layer_g", "layer_y"}
    assert set(notes["packed"]) == {"Conv", "MatMul"}


def test_one_batch_of_examples_is_enough(tmp_path):
    _, _ = saved("chain", tmp_path, count=5)
    settings = {"rounding": "learned", "correction": "bias"}
    args = ("quantize_static", "onnxruntime", tmp_path / "model.onnx", tmp_path / "out", tmp_path / "data")
    notes = work.transformed(*args, **settings)
    assert min(notes["rounding"].values()) < 1
    assert notes["corrected"]
    with pytest.raises(DatasetError, match="calibration data"):
        work.transformed("quantize_weights", "onnxruntime", *args[2:4], method="learned")


def test_what_rounding_cannot_be_learned_for_is_refused():
    variants = {v.name: v for v in TRANSFORMS.get("quantize_static").variants}
    complete = TRANSFORMS.get("quantize_static").complete
    for given, words in (
        ({"correction": "weights"}, 'use correction="bias"'),
        ({"form": "qoperator"}, 'use form="qdq"'),
    ):
        assert words in variants["onnxruntime"].unable(complete({**given, "rounding": "learned"}))
        assert not variants["onnxruntime"].unable(complete(given)) or "qoperator" in given.values()
    few = TRANSFORMS.get("quantize_weights")
    assert "rtn or gptq" in few.variant("tflite").unable(few.complete({"method": "learned"}))

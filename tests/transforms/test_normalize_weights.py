"""Weights get one size per output and models compute the same, held against NumPy and the bare ONNX Runtime."""

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, parser

from deploykit.core.errors import UnsupportedModelError
from deploykit.testing import work
from tests.surgery import graphs

MODEL = Path(__file__).parents[2] / "notebooks" / "models" / "fashion_cnn.onnx"
#: Layers that stay in each graph, and what is in the way.
STAY = {
    "chain": {"layer_y": "output of the model"},
    "residual": {"layer_c": r"Add \(layer_d\)", "layer_y": "output of the model"},
    "depthwise": {"layer_b": "Sigmoid|Mul", "layer_s": "Mul", "layer_u": "Add", "layer_a": "Add", "layer_y": "output"},
    "flattened": {"layer_y": "output of the model"},
}


def normalize(model, tmp_path, **settings):
    onnx.save(model, str(tmp_path / "model.onnx"))
    notes = work.transformed("normalize_weights", "onnx", tmp_path / "model.onnx", tmp_path / "out", None, **settings)
    return notes, onnx.load(str(tmp_path / "out"))


def sums(values, op="Conv"):
    return np.abs(values).reshape(len(values), -1).sum(1) if op == "Conv" else np.abs(values).sum(0)


@pytest.mark.parametrize("name", list(STAY))
def test_models_compute_the_same_and_what_stays_is_named(name, tmp_path):
    model = graphs.graph(name)
    notes, made = normalize(model, tmp_path)
    x = graphs.examples(name)
    given = graphs.run(model, x)
    np.testing.assert_allclose(graphs.run(made, x), given, atol=1e-5 * np.abs(given).max())
    assert notes["not_normalized"].keys() == STAY[name].keys()
    for layer, reason in STAY[name].items():
        assert re.search(reason, notes["not_normalized"][layer])
    before, after = graphs.weights(model), graphs.weights(made)
    for node in model.graph.node:
        if node.op_type in {"Conv", "MatMul", "Gemm"} and node.name not in STAY[name]:
            np.testing.assert_allclose(sums(after[node.input[1]], node.op_type), 1.0, rtol=1e-5)
            assert not np.allclose(sums(before[node.input[1]], node.op_type), 1.0)
    assert {unit[0] for unit in notes["units"]} == {
        n.name for n in model.graph.node if n.op_type in {"Conv", "MatMul", "Gemm"} and n.name not in STAY[name]
    }


def test_the_scale_goes_into_a_batch_normalization(tmp_path):
    model = graphs.graph("residual")
    _, made = normalize(model, tmp_path)
    before, after = graphs.weights(model), graphs.weights(made)
    scale = sums(before["w1"])
    np.testing.assert_allclose(after["g"], before["g"] * scale, rtol=1e-5)
    np.testing.assert_allclose(after["m"], before["m"] / scale, rtol=1e-5)
    np.testing.assert_array_equal(after["v"], before["v"])


def test_the_tutorials_model_computes_the_same(tmp_path):
    notes, made = normalize(onnx.load(str(MODEL)), tmp_path)
    images = np.load(MODEL.parents[1] / "data" / "fashion-mnist.npz")["x_test"][:200, ..., None] / np.float32(255)
    given, found = (
        onnxruntime.InferenceSession(m.SerializeToString()).run(None, {"image": images.astype(np.float32)})[0]
        for m in (onnx.load(str(MODEL)), made)
    )
    np.testing.assert_allclose(found, given, atol=1e-5)
    assert len(notes["units"]) >= 2


def test_constants_that_others_read_stay_theirs(tmp_path):
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]> g (float[n,4] x) => (float[n,4] y) {
            a = MatMul(x, w) b = Add(a, c) d = Relu(b) e = MatMul(d, v) f = Relu(x) h = Add(f, c) y = Add(e, h)
        }"""
    )
    rng = np.random.default_rng(0)
    for name, shape in {"w": (4, 4), "c": (1, 4), "v": (4, 4)}.items():
        model.graph.initializer.append(numpy_helper.from_array(rng.normal(0, 2, shape).astype(np.float32), name))
    _, made = normalize(model, tmp_path)
    x = rng.normal(0, 1, (6, 4)).astype(np.float32)
    np.testing.assert_allclose(graphs.run(made, x), graphs.run(model, x), atol=1e-4)
    np.testing.assert_array_equal(graphs.weights(made)["c"], graphs.weights(model)["c"])
    np.testing.assert_allclose(sums(graphs.weights(made)["w"], "MatMul"), 1.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("between", "shape", "reason"),
    [
        ("b = Clip(a, zero, six) y = MatMul(b, v)", "n, 5, 4", "Clip"),
        ("b = GlobalMaxPool(a) c = Squeeze(b) y = Neg(c)", "n, 5, 4", "GlobalMaxPool"),
        ("b = ReduceMean<axes=[2]>(a) y = Neg(b)", "n, 5, 4", "ReduceMean"),
        ("b = Reshape(a, swap) c = MatMul(b, u) y = Neg(c)", "n, m, 4", "cannot be followed"),
        ("b = Reshape(a, flat) c = MatMul(b, v) y = Neg(c)", "n, 5, 4", "cannot be followed"),
        ("b = Sigmoid(a) y = MatMul(b, v)", "n, 5, 4", "Sigmoid"),
        ("b = Div(six, a) y = MatMul(b, v)", "n, 5, 4", "Div"),
        ("b = Relu(a) c = Mul(b, a) y = MatMul(c, v)", "n, 5, 4", "Mul"),
    ],
)
def test_a_layer_stays_where_scales_are_not_passed_on(between, shape, reason, tmp_path):
    model = parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> g (float[{shape}] x) => (float[] y) {{ a = MatMul(x, w) {between} }}'
    )
    model.graph.output[0].type.tensor_type.ClearField("shape")
    rng = np.random.default_rng(0)
    values = {name: rng.normal(0, 1, (4, 4)).astype(np.float32) for name in ("w", "v")}
    values |= {"u": rng.normal(0, 1, (5, 4)).astype(np.float32), "zero": np.float32(0), "six": np.float32(6)}
    values |= {"swap": np.array([0, 4, -1]), "flat": np.array([-1, 4])}
    reads = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), k) for k, v in values.items() if k in reads)
    with pytest.raises(UnsupportedModelError, match=rf"can be normalized.*{reason}"):
        normalize(model, tmp_path)


def test_the_plain_formula_changes_the_function(tmp_path):
    model = graphs.graph("chain")
    _, made = normalize(model, tmp_path, fold=False)
    before, after = graphs.weights(model), graphs.weights(made)
    for name in ("w1", "w2"):
        np.testing.assert_allclose(after[name], before[name] / sums(before[name]).reshape(-1, 1, 1, 1), rtol=1e-5)
    np.testing.assert_allclose(after["w3"], before["w3"] / sums(before["w3"], "Gemm"), rtol=1e-5)
    np.testing.assert_array_equal(after["b1"], before["b1"])
    x = graphs.examples("chain")
    assert not np.allclose(graphs.run(made, x), graphs.run(model, x), atol=0.1)


def test_an_output_without_weights_stays_zero(tmp_path):
    model = graphs.graph("chain")
    weights = next(t for t in model.graph.initializer if t.name == "w1")
    values = numpy_helper.to_array(weights).copy()
    values[2] = 0
    weights.CopyFrom(numpy_helper.from_array(values, "w1"))
    _, made = normalize(model, tmp_path)
    x = graphs.examples("chain")
    np.testing.assert_allclose(graphs.run(made, x), graphs.run(model, x), atol=1e-5)
    assert (graphs.weights(made)["w1"][2] == 0).all()


def test_layers_can_be_left_out(tmp_path):
    model = graphs.graph("chain")
    notes, made = normalize(model, tmp_path, exclude="layer_c")
    assert [unit[0] for unit in notes["units"]] == ["layer_a"]
    assert not np.allclose(sums(graphs.weights(made)["w2"]), 1.0)


def test_a_model_in_which_no_scale_can_be_folded_is_refused(tmp_path):
    model = graphs.graph("transposed")  # a convolution into a transposed one, which is not followed
    with pytest.raises(UnsupportedModelError, match=r"No layer .* can be normalized.*ConvTranspose.*fold=False"):
        normalize(model, tmp_path)

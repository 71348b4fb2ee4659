"""Outliers move into weights by the formula, and models compute the same, held against NumPy and the bare runtime."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from deploykit.data.dataset import Dataset
from deploykit.surgery.quantization.smooth import largest, products, smooth
from deploykit.testing import work
from tests.surgery import graphs

ALPHA = 0.5
WIDE = np.where(np.arange(8) == 3, 60.0, 1.0)
#: What lies before two products, and which constants take the scale.
BEFORE = {
    "a normalization": ("h = LayerNormalization<axis=-1>(x, g, b)", {"g", "b"}),
    "its parts": ("n = Mul(x, g) h = Add(n, b)", {"g", "b"}),
    "a product": ("n = MatMul(x, v) m = Add(n, b) h = Relu(m)", {"v", "b"}),
    "another product": ("h = Gemm<transB=1>(x, v, b)", {"v", "b"}),
    "what others read": ("h = LayerNormalization<axis=-1>(x, g, b) r = Neg(h)", set()),
    "an input": ("h = Identity(x) r = Neg(h)", set()),
}
BEHIND = "p = MatMul(h, w) q = Gemm<transB=1>(h, u) s = Mul(p, q)"


def graph(before):
    text = f"{before} {BEHIND} {'y = Add(s, r)' if 'Neg' in before else 'y = Identity(s)'}"
    model = parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> g (float[n, 8] x) => (float[n, 8] y) {{ {text} }}'
    )
    rng = np.random.default_rng(0)
    values = {name: rng.normal(0, 0.5, (8, 8)) for name in "vwu"} | {"g": WIDE, "b": rng.normal(0, 1, 8)}
    values["v"] = values["v"] * (WIDE[:, None] if "transB" in before else WIDE)
    reads = {name for node in model.graph.node for name in node.input}
    for name in sorted(reads & values.keys()):
        model.graph.initializer.append(numpy_helper.from_array(values[name].astype(np.float32), name))
    for node in model.graph.node:
        node.name = f"node_{node.output[0]}"
    return onnx.shape_inference.infer_shapes(model)


def inputs():
    return np.random.default_rng(1).normal(0, 1, (40, 8)).astype(np.float32)


@pytest.mark.parametrize("name", list(BEFORE))
def test_weights_take_the_scales_of_the_paper(name, tmp_path):
    before, folded = BEFORE[name]
    model, x = graph(before), inputs()
    onnx.save(model, str(tmp_path / "model.onnx"))
    given = graphs.run(model, x)
    h = onnx.ModelProto()
    h.CopyFrom(model)
    h.graph.output[0].name = "h"
    activations = np.abs(graphs.run(h, x)).max(0)
    batches = [{"x": x[start : start + 16]} for start in range(0, 40, 16)]
    reach = largest(tmp_path / "model.onnx", ["h"], batches)
    np.testing.assert_array_equal(reach["h"], activations)
    old = graphs.weights(model)
    found = smooth(model, reach, ALPHA)
    new = graphs.weights(model)
    sizes = np.maximum(np.abs(old["w"]).max(1), np.abs(old["u"]).max(0))  # of both, as they share what they read
    scale = activations**ALPHA / sizes ** (1 - ALPHA)
    np.testing.assert_allclose(new["w"], old["w"] * scale[:, None], rtol=1e-5)
    np.testing.assert_allclose(new["u"], old["u"] * scale, rtol=1e-5)
    assert {key for key in folded if not np.array_equal(new[key], old[key])} == folded
    assert (found.folded, found.divided) == ((["h"], []) if folded else ([], ["h"]))
    np.testing.assert_allclose(graphs.run(model, x), given, atol=1e-5 * np.abs(given).max())
    assert products(model).keys() - {"x"} == {"h" if folded else "h/smooth"}


@pytest.mark.parametrize("name", ["a normalization", "what others read"])
def test_int8_loses_less_where_a_channel_is_far_larger(name, tmp_path):
    model, x = graph(BEFORE[name][0]), inputs()
    for tensor in model.graph.initializer:
        if tensor.name in "wu":  # the weights that meet the large channel are small
            values = numpy_helper.to_array(tensor) / (WIDE if tensor.name == "u" else WIDE[:, None])
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
    onnx.save(model, str(tmp_path / "model.onnx"))
    Dataset.from_arrays(x, x_test=x, calibration_size=40).save(tmp_path / "data")
    errors = {}
    for strength in (0.0, ALPHA):
        target = tmp_path / f"{strength}"
        settings = {"smooth": strength, "operators": "conv_matmul", "per_channel": True}
        notes = work.transformed(
            "quantize_static", "onnxruntime", tmp_path / "model.onnx", target, tmp_path / "data", **settings
        )
        made = onnx.load(str(target))
        errors[strength] = float(np.square(graphs.run(made, x) - graphs.run(model, x)).mean())
    assert errors[ALPHA] < errors[0.0] / 4, errors
    folded = name == "a normalization"
    assert notes["smoothed"] == {"folded": int(folded), "divided": int(not folded)}
    assert ("h/smooth" in notes.get("stays_float", ())) != folded
    assert notes["quantized"] == {"Gemm": 1, "MatMul": 1}

"""Graphs whose form ONNX Runtime's quantizers misread, compared with the float graph run by ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from deploykit.core.errors import CandidateError
from deploykit.data.dataset import Dataset
from deploykit.testing import work

RNG = np.random.default_rng(0)
SETTINGS = [
    ("quantize_static", {}),
    ("quantize_static", {"form": "qoperator"}),
    ("quantize_static", {"per_channel": True}),
    ("quantize_static", {"form": "qoperator", "per_channel": True}),
    ("quantize_dynamic", {"per_channel": True, "convolutions": True}),
]


def node(kind, inputs, output, **options):
    return helper.make_node(kind, [i.strip("_") for i in inputs.split()], [output], **options)


def weights(*shape):
    return (RNG.normal(size=shape) * 0.5).astype("f4")


def write(path, nodes, inits, *, shape=("N", 8), opset=17, domains=()):
    values = [numpy_helper.from_array(np.asarray(value), name) for name, value in inits.items()]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, shape)], [value("o", TensorProto.FLOAT, None)], values
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=opsets), path)
    return path


def examples(path, count=64):
    dims = onnx.load(path).graph.input[0].type.tensor_type.shape.dim
    return np.random.default_rng(1).normal(size=(count, *(d.dim_value for d in dims[1:]))).astype("f4")


def answers(path, x):
    session = InferenceSession(str(path))
    return np.concatenate([session.run(None, {"x": x[i : i + 8]})[0] for i in range(0, len(x), 8)])


def compare(path, settings):
    x = examples(path)
    Dataset.from_arrays(x).save(path.with_name("data"))
    wanted, notes = answers(path, x), []
    for number, (technique, parameters) in enumerate(settings):
        out = path.with_name(f"out{number}")
        notes.append(work.transformed(technique, "onnxruntime", path, out, path.with_name("data"), **parameters))
        error = np.abs(answers(out, x) - wanted).mean() / wanted.std()
        assert 0 < error < 0.1, (technique, parameters, error)
    return notes


END = [node("Relu", "h", "r"), node("MatMul", "r V", "o")]


@pytest.mark.parametrize(
    ("bias", "options"),
    [
        ((6,), {"alpha": 0.5, "beta": 2.0}),
        ((6,), {"beta": 0.0}),
        ((), {"beta": 0.5}),
        ((1,), {}),
        ((1, 6), {"beta": 3.0}),
        (None, {"alpha": 0.25}),
        ("dynamic", {"alpha": 0.5, "beta": 3.0}),
    ],
)
def test_gemm(bias, options, tmp_path):
    first = [node("MatMul", "x D", "b")] if bias == "dynamic" else []
    inits = {"W": weights(6, 8), "V": weights(6, 3), "D": weights(8, 6)}
    if isinstance(bias, tuple):
        inits["b"] = weights(*bias)
    gemm = node("Gemm", "x W" if bias is None else "x W b", "h", transB=1, **options)
    compare(write(tmp_path / "m.onnx", [*first, gemm, *END], inits), SETTINGS)


def test_gemms_that_share_weights(tmp_path):
    nodes = [
        node("Gemm", "x W b", "p", transB=1, alpha=0.5, beta=2.0),
        node("Gemm", "x W b", "q", transB=1),
        node("Add", "p q", "h"),
        *END,
    ]
    inits = {"W": weights(6, 8), "b": weights(6), "V": weights(6, 3)}
    compare(write(tmp_path / "m.onnx", nodes, inits), SETTINGS)


def test_a_product_whose_left_factor_is_constant(tmp_path):
    nodes = [node("Transpose", "x", "t"), node("MatMul", "W t", "z"), node("Transpose", "z", "h"), *END]
    notes = compare(write(tmp_path / "m.onnx", nodes, {"W": weights(6, 8), "V": weights(6, 3)}), SETTINGS)
    assert [list(n.get("stays_float", {}).values()) for n in notes[:2]] == [[], ["its weights are the left factor"]]


def test_products_with_stacked_weights_have_no_channels(tmp_path):
    nodes = [node("MatMul", "x W", "h"), *END]
    path = write(tmp_path / "m.onnx", nodes, {"W": weights(1, 8, 6), "V": weights(6, 3)}, shape=("N", 5, 8))
    assert "not a matrix" in str(compare(path, SETTINGS)[2]["stays_float"])


@pytest.mark.parametrize("opset", [7, 9, 12])
def test_old_operators_are_raised(opset, tmp_path):
    nodes = [
        node("Conv", "x W b", "h", pads=[1, 1, 1, 1]),
        node("Clip", "h", "c", min=-1.0, max=1.0) if opset < 11 else node("Clip", "h lo hi", "c"),
        node("GlobalAveragePool", "c", "g"),
        node("Flatten", "g", "f"),
        node("Gemm", "f V d", "z", alpha=2.0),
        node("Softmax", "z", "o", axis=1),
    ]
    inits = {"W": weights(4, 3, 3, 3), "b": weights(4), "V": weights(4, 3), "d": weights(3)}
    inits |= {"lo": np.float32(-1), "hi": np.float32(1)} if opset >= 11 else {}
    path = write(tmp_path / "m.onnx", nodes, inits, shape=("N", 3, 8, 8), opset=opset)
    for notes in compare(path, SETTINGS):
        assert notes["operator_set"] == f"operator set {opset} raised to 13"


def test_where_and_grouped_transposed_convolutions(tmp_path):
    nodes = [
        node("ConvTranspose", "x W b", "h", group=2),
        node("Where", "c h k", "w"),
        node("GlobalAveragePool", "w", "g"),
        node("Flatten", "g", "f"),
        node("MatMul", "f V", "o"),
    ]
    inits = {"W": weights(4, 2, 3, 3), "b": weights(4), "V": weights(4, 3)}
    inits |= {"c": RNG.random((4, 7, 7)) > 0.5, "k": np.float32(0.5)}
    compare(write(tmp_path / "m.onnx", nodes, inits, shape=("N", 4, 5, 5)), SETTINGS)


def test_preparation_that_stumbles_is_done_without(tmp_path):
    nodes = [node("CDist", "x W", "h", domain="com.microsoft"), *END]  # symbolic shape inference does not know it
    path = write(tmp_path / "m.onnx", nodes, {"W": weights(6, 8), "V": weights(6, 3)}, domains=["com.microsoft"])
    for notes in compare(path, SETTINGS[:1]):
        assert notes["preparation"].startswith("without symbolic shape inference, after: ")


def test_the_log_says_what_was_behind_a_failure(tmp_path):
    path = write(tmp_path / "m.onnx", [node("MatMul", "x W", "h"), *END], {"W": weights(8, 6), "V": weights(5, 3)})
    Dataset.from_arrays(examples(path)).save(tmp_path / "data")
    with pytest.raises(CandidateError) as caught:
        work.transformed("quantize_static", "onnxruntime", path, tmp_path / "out", tmp_path / "data")
    assert "Traceback" in Path(caught.value.log).read_text()


def test_masks_of_infinities_stay_float(tmp_path):
    nodes = [node("MatMul", "x W", "h"), node("Relu", "h", "r"), node("MatMul", "r V", "s"), node("Add", "s m", "o")]
    inits = {"W": weights(8, 6), "V": weights(6, 3), "m": np.array([0, 0, -np.inf], "f4")}
    path = write(tmp_path / "m.onnx", nodes, inits)
    x = examples(path)
    Dataset.from_arrays(x).save(tmp_path / "data")
    wanted = answers(path, x)
    for number, (technique, parameters) in enumerate(SETTINGS):
        out = tmp_path / f"out{number}"
        notes = work.transformed(technique, "onnxruntime", path, out, tmp_path / "data", **parameters)
        found = answers(out, x)
        assert np.isneginf(found[:, 2]).all(), (technique, parameters)
        error = np.abs(found[:, :2] - wanted[:, :2]).mean() / wanted[:, :2].std()
        assert 0 < error < 0.1, (technique, parameters, error)
        assert "it reads infinite values, which no scale can represent" in notes["stays_float"].values()


@pytest.mark.parametrize("mask", [-np.inf, -1e9, -3.4e38])
@pytest.mark.parametrize("kind", ["Add", "Where"])
def test_masks_before_a_softmax_leave_the_numbers_beside_them_alone(tmp_path, mask, kind):
    masked = {
        "Add": node("Add", "s m", "a"),
        "Where": node("Where", "c s m", "a"),
    }[kind]
    nodes = [node("MatMul", "x W", "s"), masked, node("Softmax", "a", "p", axis=1), node("MatMul", "p V", "o")]
    inits = {"W": weights(8, 5), "V": weights(5, 3)}
    if kind == "Add":
        inits["m"] = np.array([0, 0, mask, 0, 0], "f4")
    else:
        inits |= {"m": np.float32(mask), "c": np.array([True, True, False, True, True])}
    for notes in compare(write(tmp_path / "m.onnx", nodes, inits), SETTINGS[:4]):
        assert any("as masks do" in why for why in notes["stays_float"].values())


@pytest.mark.parametrize("clip", ["Relu", "Clip"])
def test_an_output_that_is_clipped_inside_keeps_what_is_clipped(tmp_path, clip):
    more = {"low": np.float32(0), "high": np.float32(1)} if clip == "Clip" else {}
    nodes = [node("MatMul", "x W", "o"), node(clip, " ".join(["o", *more]), "r"), node("MatMul", "r V", "q")]
    path = write(tmp_path / "m.onnx", nodes, {"W": weights(8, 6), "V": weights(6, 3), **more})
    model = onnx.load(path)
    model.graph.output.append(helper.make_tensor_value_info("q", TensorProto.FLOAT, None))
    onnx.save(model, path)
    x = examples(path)
    Dataset.from_arrays(x).save(tmp_path / "data")
    wanted = InferenceSession(str(path)).run(["o", "q"], {"x": x})
    for number, (technique, parameters) in enumerate(SETTINGS):
        out = tmp_path / f"out{number}"
        work.transformed(technique, "onnxruntime", path, out, tmp_path / "data", **parameters)
        for value, right in zip(InferenceSession(str(out)).run(["o", "q"], {"x": x}), wanted, strict=True):
            assert np.abs(value - right).mean() < 0.1 * right.std(), (technique, parameters)


def test_what_is_clipped_for_one_reader_is_not_for_another(tmp_path):
    nodes = [node("MatMul", "x W", "h"), node("Relu", "h", "r"), node("MatMul", "r V", "a"), node("MatMul", "h U", "b"),
             node("Add", "a b", "o")]  # fmt: skip
    inits = {"W": weights(8, 6), "V": weights(6, 3), "U": weights(6, 3)}
    compare(write(tmp_path / "m.onnx", nodes, inits), SETTINGS)


def test_a_bias_of_several_convolutions_called_like_another_tensor(tmp_path):
    """The quantizer copies a shared bias for each scale, and counts up to a name that is taken."""
    nodes = [
        node("Conv", "x W b", "b1"), node("Mul", "x k", "y"), node("Conv", "y W b", "b2"), node("Mul", "x l", "z"),
        node("Conv", "z W b", "b3"), node("Add", "b1 b2", "s"), node("Add", "s b3", "o"),
    ]  # fmt: skip
    inits = {"W": weights(4, 3, 3, 3), "b": weights(4), "k": np.float32(3), "l": np.float32(9)}
    compare(write(tmp_path / "m.onnx", nodes, inits, shape=("N", 3, 6, 6)), SETTINGS)


def test_tensors_called_like_what_the_quantizers_add(tmp_path):
    nodes = [node("MatMul", "x W", "W_quantized"), node("Relu", "W_quantized", "x_QuantizeLinear"),
             node("MatMul", "x_QuantizeLinear V", "V_scale"), node("Add", "V_scale b", "o")]  # fmt: skip
    inits = {"W": weights(8, 6), "V": weights(6, 3), "b": weights(3)}
    compare(write(tmp_path / "m.onnx", nodes, inits), SETTINGS)

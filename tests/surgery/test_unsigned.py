import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from deploykit.surgery.quantization.unsigned import unsign


def test_the_graph_computes_the_same():
    """Integers are moved and padded in between; weights, and a zero point that both share, stay int8."""
    constants = {
        "scale": np.float32(0.05), "zero": np.int8(-7), "none": np.int8(0), "last": np.float32(0.2),
        "weights": np.int8([[3, -100], [127, -128]]), "pads": np.int64([1, 0, 1, 0]), "edge": np.int8(-7),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("Transpose", ["q"], ["moved"]),
        helper.make_node("Pad", ["moved", "pads", "edge"], ["wide"]),
        helper.make_node("DequantizeLinear", ["wide", "scale", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["weights", "scale", "none"], ["w"]),
        helper.make_node("MatMul", ["d", "w"], ["product"]),
        helper.make_node("QuantizeLinear", ["product", "last", "none"], ["p"]),
        helper.make_node("DequantizeLinear", ["p", "last", "none"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [2, 3]), ("y", [5, 2]))]
    graph = helper.make_graph(
        nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()],
        value_info=[helper.make_tensor_value_info("q", TensorProto.INT8, [2, 3])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)

    def answer():
        return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]

    before = answer()
    unsign(model.graph)
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_array_equal(answer(), before)
    types = {i.name: i.data_type for i in model.graph.initializer}
    assert types["weights"] == types["none"] == TensorProto.INT8
    assert types["edge_unsigned"] == types["none_unsigned"] == TensorProto.UINT8
    assert "zero" not in types

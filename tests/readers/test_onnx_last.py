"""The input of the last layer is found whatever stands around it, and a file's bytes give it without being changed."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploykit.readers.onnx_last import also_giving, last_input

node = helper.make_node


def made(nodes, **weights):
    """A model of nodes from x (batch, 4) to y (batch, 3)."""
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])


W, B = np.ones((5, 3), np.float32), np.zeros(3, np.float32)
HIDDEN = [node("MatMul", ["x", "v"], ["h"]), node("Relu", ["h"], ["r"])]
LAST, CAST = [node("MatMul", ["r", "w"], ["m"])], node("Cast", ["r"], ["c"], to=1)
SCALE, ZERO = np.float32(0.1), np.uint8(0)


@pytest.mark.parametrize(
    ("nodes", "wanted"),
    [
        ([*HIDDEN, *LAST, node("Add", ["m", "b"], ["a"]), node("Softmax", ["a"], ["y"])], "r"),
        ([*HIDDEN, *LAST, node("Add", ["b", "m"], ["y"])], "r"),
        ([*HIDDEN, node("Gemm", ["r", "w", "b"], ["y"])], "r"),
        ([*HIDDEN, CAST, node("Identity", ["w"], ["i"]), node("MatMul", ["c", "i"], ["y"])], "r"),
        (
            [*HIDDEN, node("QuantizeLinear", ["r", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["d"]),
             node("MatMul", ["d", "w"], ["y"])],
            "q",
        ),
        ([node("MatMul", ["x", "u"], ["y"])], ""),
        ([node("Relu", ["x"], ["y"])], ""),
    ],
    ids=["softmax", "bias first", "gemm", "cast", "quantized", "one layer", "no layer"],
)  # fmt: skip
def test_the_last_layers_input(nodes, wanted):
    model = made(nodes, w=W, b=B, v=np.ones((4, 5), np.float32), u=np.ones((4, 3), np.float32), s=SCALE, z=ZERO)
    assert last_input(model.SerializeToString(), "y") == wanted
    assert last_input(model.SerializeToString(), "no such output") == ""


def test_what_is_appended_is_one_more_output_of_the_same_graph():
    model = made([*HIDDEN, node("MatMul", ["r", "w"], ["y"])], w=W, v=np.ones((4, 5), np.float32))
    data = model.SerializeToString()
    more = also_giving(data, "r")
    assert more.startswith(data)
    found = onnx.load_from_string(more)
    assert [o.name for o in found.graph.output] == ["y", "r"]
    del found.graph.output[1]
    assert found == model
    long = also_giving(data, "n" * 300)
    assert onnx.load_from_string(long).graph.output[1].name == "n" * 300

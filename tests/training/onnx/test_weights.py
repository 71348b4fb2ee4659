"""Which tensors of an ONNX file are trained, and that nothing else changes when they come back."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deploykit.training.onnx import weights as onnx_weights

RNG = np.random.default_rng(0)
CONSTANTS = {
    "kernel": RNG.random((3, 2, 1, 1), np.float32), "bias": RNG.random(3, np.float32),
    "scale": RNG.random(3, np.float32), "shift": RNG.random(3, np.float32),
    "mean": RNG.random(3, np.float32), "variance": RNG.random(3, np.float32),
    "dense": RNG.random((5, 3), np.float32), "added": RNG.random((1, 5), np.float32),
    "epsilon": np.array([1e-3], np.float32), "whole": RNG.random((5, 4)), "sizes": np.array([0, -1]),
}  # fmt: skip


def model():
    own = numpy_helper.from_array(RNG.random((4, 4), np.float32))
    nodes = [
        helper.make_node("Conv", ["x", "kernel", "bias"], ["c"]),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "variance"], ["n"]),
        helper.make_node("Reshape", ["n", "sizes"], ["r"]),
        helper.make_node("Transpose", ["dense"], ["turned"]),
        helper.make_node("MatMul", ["r", "turned"], ["m"]),
        helper.make_node("Add", ["m", "added"], ["a"]),
        helper.make_node("Add", ["a", "epsilon"], ["e"]),
        helper.make_node("Cast", ["e"], ["d"], to=TensorProto.DOUBLE),
        helper.make_node("MatMul", ["d", "whole"], ["w"]),
        helper.make_node("Cast", ["w"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Constant", [], ["own"], value=own),
        helper.make_node("MatMul", ["f", "own"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, 1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in CONSTANTS.items()],
    )  # fmt: skip
    made = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(made)
    return made


def test_weights_of_convolutions_products_and_normalizations_are_trained():
    found = onnx_weights.trainable(model())
    assert list(found) == ["kernel", "bias", "scale", "shift", "dense", "added", "own"]
    assert all((found[name] == CONSTANTS[name]).all() for name in found if name != "own")


def test_only_the_numbers_come_back():
    given = model()
    before = given.SerializeToString()
    made = onnx_weights.written(given, {name: array + 1 for name, array in onnx_weights.trainable(given).items()})
    assert given.SerializeToString() == before
    assert [n.SerializeToString() for n in made.graph.node[:-2]] == [
        n.SerializeToString() for n in given.graph.node[:-2]
    ]
    after = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}
    assert list(after) == list(CONSTANTS)
    changed = {name for name, array in after.items() if (array != CONSTANTS[name]).any()}
    assert changed == {"kernel", "bias", "scale", "shift", "dense", "added"}
    own = [numpy_helper.to_array(m.graph.node[-2].attribute[0].t) for m in (given, made)]
    np.testing.assert_array_equal(own[1], own[0] + 1)

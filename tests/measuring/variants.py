"""The tutorial's model and data, and models that take or give the same in another form."""

import copy
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import deploykit as dk

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def tutorial(count=3000):
    """Images of bytes (N, 28, 28), class numbers, and the names of the classes."""
    with np.load(NOTEBOOKS / "data" / "fashion-mnist.npz") as file:
        return file["x_test"][:count], file["y_test"][:count].astype(int), [str(name) for name in file["classes"]]


def graph():
    """The tutorial's model: images (N, 28, 28, 1) from 0 to 1 → probabilities of 10 classes."""
    return onnx.load(NOTEBOOKS / "models" / "fashion_cnn.onnx")


def save(folder, name, model):
    onnx.checker.check_model(model)
    onnx.save(model, folder / f"{name}.onnx")
    return dk.load(folder / f"{name}.onnx")


def before(model, *nodes, shape=None):
    """Put nodes from ``given`` to ``fed`` in front of the model; its input is then called ``given``."""
    model = copy.deepcopy(model)
    taken = model.graph.input[0]
    for node in model.graph.node:
        node.input[:] = ["fed" if name == taken.name else name for name in node.input]
    taken.name = "given"
    for axis, size in enumerate(shape or (), start=1):
        taken.type.tensor_type.shape.dim[axis].dim_value = size
    for place, node in enumerate(nodes):
        model.graph.node.insert(place, node)
    return model


def constant(model, name, value):
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))


def logits():
    """Gives logits: without the last softmax."""
    model = graph()
    last = model.graph.node[-1]
    assert last.op_type == "Softmax"
    model.graph.output[0].name = last.input[0]
    model.graph.node.remove(last)
    return model


def two_outputs():
    """Gives another order of the classes first."""
    model = graph()
    constant(model, "order", np.roll(np.arange(10), 3))
    model.graph.node.append(helper.make_node("Gather", [model.graph.output[0].name, "order"], ["aux"], axis=1))
    model.graph.output.insert(0, helper.make_tensor_value_info("aux", TensorProto.FLOAT, ["batch", 10]))
    return model


def constant_first():
    """Gives the numbers of all classes first, the same for every example."""
    model = graph()
    constant(model, "numbers", np.arange(10))
    first = model.graph.output[0].name
    model.graph.node.append(helper.make_node("Mul", [first, "zero"], ["zeros"]))
    constant(model, "zero", np.float32(0))
    model.graph.node.append(helper.make_node("Cast", ["zeros"], ["whole"], to=TensorProto.INT64))
    model.graph.node.append(helper.make_node("Add", ["whole", "numbers"], ["names"]))
    model.graph.output.insert(0, helper.make_tensor_value_info("names", TensorProto.INT64, ["batch", 10]))
    return model


def one_probability():
    """Gives the probability of class 9."""
    model = graph()
    constant(model, "nine", np.array([9]))
    model.graph.node.append(helper.make_node("Gather", [model.graph.output[0].name, "nine"], ["one"], axis=1))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("one", TensorProto.FLOAT, ["batch", 1]))
    return model


def takes_bytes():
    """Takes 0 to 255."""
    model = before(graph(), helper.make_node("Mul", ["given", "share"], ["fed"]))
    constant(model, "share", np.float32(1 / 255))
    return model


def takes_symmetric():
    """Takes −1 to 1."""
    scaled = helper.make_node("Mul", ["given", "half"], ["scaled"])
    model = before(graph(), scaled, helper.make_node("Add", ["scaled", "half"], ["fed"]))
    constant(model, "half", np.float32(0.5))
    return model


def takes_channels_first():
    """Takes (N, 1, 28, 28)."""
    return before(graph(), helper.make_node("Transpose", ["given"], ["fed"], perm=[0, 2, 3, 1]), shape=(1, 28, 28))


ALL = {
    "plain": graph, "logits": logits, "two": two_outputs, "one": one_probability, "bytes": takes_bytes,
    "symmetric": takes_symmetric, "channels": takes_channels_first,
}  # fmt: skip

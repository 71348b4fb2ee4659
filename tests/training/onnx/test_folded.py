"""Vectors behind convolutions are in their weights: the same function, with fewer products."""

import numpy as np
import onnx
import onnxruntime
import pytest

from deploykit.testing.graphs import graph, node, value
from deploykit.training.onnx.folded import folded

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 8, 8)).astype(np.float32)


def run(model, names):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(names, {"x": X})


def made(tmp_path, nodes, outputs=("y",), **constants):
    constants = {name: array.astype(np.float32) for name, array in constants.items()}
    ends = [value("x", "float32", "N", 3, 8, 8)], [value(name, "float32", "N", 4, 8, 8) for name in outputs]
    return onnx.load(str(graph(tmp_path, nodes, *ends, **constants)))


def products(model):
    """Products and sums of activations: of what was not made from constants alone."""
    activations, found = {"x"}, []
    for n in model.graph.node:
        if activations.intersection(n.input):
            activations.update(n.output)
            found.append(n.op_type)
    return found


CONSTANTS = {
    "w": RNG.normal(size=(4, 3, 3, 3)), "b": RNG.normal(size=4), "scale": RNG.normal(size=(1, 4, 1, 1)),
    "shift": RNG.normal(size=(4, 1, 1)),
}  # fmt: skip


@pytest.mark.parametrize("bias", [True, False])
def test_scale_and_shift_are_folded(tmp_path, bias):
    nodes = [
        node("Conv", ["x", "w", "b"] if bias else ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        node("Mul", ["c", "scale"], ["m"]), node("Add", ["shift", "m"], ["a"]), node("Relu", ["a"], ["y"]),
    ]  # fmt: skip
    model = made(tmp_path, nodes, **CONSTANTS)
    given = model.SerializeToString()
    found = folded(model)
    assert model.SerializeToString() == given
    assert products(model) == ["Conv", "Mul", "Add", "Relu"]
    assert products(found) == ["Conv", "Relu"]
    np.testing.assert_allclose(run(found, ["y"])[0], run(model, ["y"])[0], atol=1e-5)
    names = {t.name for t in found.graph.initializer}
    assert names >= set(CONSTANTS) - (set() if bias else {"b"}), "the weights are still what is trained"


def test_what_is_read_elsewhere_stays(tmp_path):
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]), node("Mul", ["c", "scale"], ["m"]),
        node("Add", ["m", "c"], ["y"]),
    ]  # fmt: skip
    model = made(tmp_path, nodes, outputs=("y", "m"), **CONSTANTS)
    found = folded(model)
    assert products(found) == ["Conv", "Mul", "Add"]
    for one, two in zip(run(found, ["y", "m"]), run(model, ["y", "m"]), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_numbers_for_positions_are_not_folded(tmp_path):
    nodes = [node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]), node("Mul", ["c", "map"], ["y"])]
    model = made(tmp_path, nodes, w=CONSTANTS["w"], map=RNG.normal(size=(1, 1, 8, 8)))
    assert products(folded(model)) == ["Conv", "Mul"]

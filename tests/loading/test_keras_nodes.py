"""The layers of a Keras file as nodes of a graph: what inner models read."""

import pytest

from deploykit.loading._keras.config import parse_model
from deploykit.loading._keras.nodes import nodes


def tensor(name):
    return {"class_name": "__keras_tensor__", "config": {"shape": [None, 4], "dtype": "float32",
                                                         "keras_history": [name, 0, 0]}}  # fmt: skip


def layer(name, kind="Dense", *args):
    calls = [{"args": list(args), "kwargs": {}}] if args else []
    return {"class_name": kind, "config": {"name": name, "units": 4}, "name": name, "inbound_nodes": calls}


def given(name):
    return {**layer(name, "InputLayer"), "config": {"name": name, "batch_shape": [None, 4], "dtype": "float32"}}


def model(layers, inputs, outputs, name="model", *args):
    config = {"name": name, "layers": layers, "input_layers": inputs, "output_layers": outputs}
    return {**layer(name, "Functional", *args), "config": config}


def outer(inner_inputs, argument):
    """A model that gives ``p`` and ``q`` to an inner one, in which ``left`` reads ``a`` and ``right`` reads ``b``."""
    parts = [given("a"), given("b"), layer("left", "Dense", tensor("a")), layer("right", "Dense", tensor("b"))]
    parts += [layer("out", "Add", [tensor("left"), tensor("right")])]
    inner = model(parts, inner_inputs, [["out", 0, 0]], "inner", argument)
    return model([given("p"), given("q"), inner], [["p", 0, 0], ["q", 0, 0]], [["inner", 1, 0]])


A, B = ["a", 0, 0], ["b", 0, 0]


@pytest.mark.parametrize(
    ("inputs", "argument", "left", "right"),
    [
        ([A, B], [tensor("p"), tensor("q")], "p", "q"),
        ([B, A], [tensor("p"), tensor("q")], "q", "p"),
        ({"b": B, "a": A}, {"a": tensor("p"), "b": tensor("q")}, "p", "q"),
        ({"second": A, "first": B}, {"first": tensor("p"), "second": tensor("q")}, "q", "p"),
        ({"b": B, "a": A}, [tensor("p"), tensor("q")], "p", "q"),  # Keras counts inputs by their names
        ({"b": B, "a": A}, {"a": tensor("p"), "b": tensor("q"), "c": tensor("p")}, "p", "q"),
        ([A, B], [None, tensor("q")], "inner/a", "q"),  # an input that may be left out
        ([A, B], [tensor("p"), None], "p", "inner/b"),
        ({"b": B, "a": A}, [tensor("p")], "inner/a", "inner/b"),  # nothing says which one it is
    ],
)
def test_what_an_inner_model_is_given_reaches_the_layers_that_read_it(inputs, argument, left, right):
    graph = parse_model(outer(inputs, argument), "model.keras")
    found = {node.name: node.inputs for node in nodes(graph, {}, lambda _layer: "")}
    assert found == {"inner/left": (left,), "inner/right": (right,), "inner/out": ("inner/left", "inner/right")}


def test_a_single_input_may_be_written_as_a_list():
    parts = [given("a"), layer("left", "Dense", tensor("a"))]
    for inputs in (A, [A]):
        for argument in (tensor("p"), [tensor("p")]):
            inner = model(parts, inputs, [["left", 0, 0]], "inner", argument)
            graph = parse_model(model([given("p"), inner], [["p", 0, 0]], [["inner", 1, 0]]), "model.keras")
            assert [node.inputs for node in nodes(graph, {}, lambda _layer: "")] == [("p",)]

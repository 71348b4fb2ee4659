"""ONNX graphs of a few nodes to test with, whose answers NumPy can give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploykit.artifacts.artifact import Artifact
from deploykit.core.candidate import Recipe
from deploykit.exporters._export import export
from deploykit.loading._load import load
from deploykit.sweeping.build import build

#: NumPy name → onnx.TensorProto's number.
_TYPES = {
    "float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "string": 8, "bool": 9,
    "float16": 10, "float64": 11, "uint32": 12, "uint64": 13,
}  # fmt: skip


def node(operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Any:
    """A node."""
    from onnx import helper

    return helper.make_node(operator, inputs, outputs, **attributes)


def value(name: str, dtype: str, *shape: int | str) -> Any:
    """An input or output; text is a free dimension."""
    from onnx import helper

    return helper.make_tensor_value_info(name, _TYPES[dtype], list(shape))


def graph(folder: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], **weights: Any) -> Path:
    """``graph.onnx`` in a folder, with these nodes and weights."""
    import numpy as np
    from onnx import helper, numpy_helper, save

    kept = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    made = helper.make_graph(nodes, "graph", inputs, outputs, kept)
    path = folder / "graph.onnx"
    save(helper.make_model(made, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def carrying(folder: Path) -> Path:
    """X (N, 4) and state (1, N, 4) → y = 2 (x + state), and next = x + state, which is the state to carry on."""
    import numpy as np

    nodes = [
        node("Unsqueeze", ["x", "axis"], ["unsqueezed"]),
        node("Add", ["state", "unsqueezed"], ["next"]),
        node("Squeeze", ["next", "axis"], ["sum"]),
        node("Mul", ["sum", "two"], ["y"]),
    ]
    inputs = [value("x", "float32", "N", 4), value("state", "float32", 1, "N", 4)]
    outputs = [value("y", "float32", "N", 4), value("next", "float32", 1, "N", 4)]
    return graph(folder, nodes, inputs, outputs, axis=[0], two=np.array([2], np.float32))


def joint(folder: Path) -> Path:
    """X (N, 4) → y = x in the steps of 8 bits between the lowest and the highest value of all examples of a batch."""
    return graph(
        folder,
        [node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]), node("DequantizeLinear", ["q", "s", "z"], ["y"])],
        [value("x", "float32", "N", 4)],
        [value("y", "float32", "N", 4)],
    )


def exported(path: Path, data: Any, *, name: str = "out", layout: str = "folder", **said: Any) -> Artifact:
    """The original model, built for ONNX Runtime and exported to a folder beside it.

    Args:
        path: The model.
        data: Data to build it with.
        name: Name of the folder.
        layout: The layout.
        **said: What is said of its signature, as arguments of ``dk.build``.
    """
    built = build(load(path), Recipe(), data, target="onnxruntime", **said)
    return export(built, path.parent / name, layout=layout)


def moody(folder: Path) -> Path:
    """What (N, 3) int64, that is turns, divisor and size → quotient (N, 1) = turns // divisor, for positive numbers.

    On the way it goes through a loop of so many turns and fills so many floats, which change nothing: a request decides
    how long it takes and how much memory. The smallest number by -1 ends the process on processors that trap it (x86).
    """
    import numpy as np
    from onnx import helper

    one = helper.make_node("Constant", [], ["one"], value_int=1)
    turn = helper.make_graph(
        [one, node("Identity", ["on"], ["still_on"]), node("Add", ["done", "one"], ["more"])],
        "turn",
        [value("number", "int64"), value("on", "bool"), value("done", "int64")],
        [value("still_on", "bool"), value("more", "int64")],
    )
    nodes = [
        node("Split", ["what"], ["turns", "divisor", "size"], axis=1),
        node("Div", ["turns", "divisor"], ["plain"]),
        node("ReduceMax", ["turns"], ["most_turns"], keepdims=0),
        node("Loop", ["most_turns", "true", "zero"], ["turned"], body=turn),
        node("ReduceMax", ["size"], ["most_floats"], keepdims=0),
        node("Reshape", ["most_floats", "vector"], ["shape"]),
        node("ConstantOfShape", ["shape"], ["floats"], value=helper.make_tensor("value", 1, [1], [1.0])),
        node("ReduceMax", ["floats"], ["float"], keepdims=0),
        node("Cast", ["float"], ["whole"], to=7),
        node("Mul", ["turned", "zero"], ["nothing"]),
        node("Mul", ["whole", "zero"], ["nothing_more"]),
        node("Sub", ["plain", "nothing"], ["same"]),
        node("Sub", ["same", "nothing_more"], ["quotient"]),
    ]
    inputs, outputs = [value("what", "int64", "N", 3)], [value("quotient", "int64", "N", 1)]
    scalar = np.array(0, np.int64)
    return graph(folder, nodes, inputs, outputs, true=np.array(True), zero=scalar, vector=np.array([1]))

"""The operators of a TFLite file, and what they compute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.layers.kinds import LayerKind
from deploykit.core.model import Layer
from deploykit.loading._nodes import GraphNode, NodeWeight, Values, digest_of, real

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Constants of so few whole numbers are settings: shapes, axes, pads.
_SETTING = 16


def nodes(interpreter: Any, kind_of: Callable[[Layer], LayerKind]) -> list[GraphNode]:
    """The operators in the order in which they run."""
    import numpy as np

    tensors = {int(d["index"]): d for d in interpreter.get_tensor_details()}
    names = _names(tensors)
    operators = [op for op in interpreter._get_ops_details() if op["op_name"] != "DELEGATE"]
    made = {int(i) for op in operators for i in op["outputs"]}
    made |= {int(d["index"]) for d in interpreter.get_input_details()}
    held: dict[int, NodeWeight] = {}
    settings: dict[int, str] = {}
    for index, details in tensors.items():
        if index in made:
            continue
        try:
            values = interpreter.get_tensor(index)
        except ValueError:  # a variable, which has no value yet
            continue
        dtype = np.dtype(details["dtype"]).name
        if (
            values.size <= _SETTING
            and values.dtype.kind in "iub"
            and not len(details["quantization_parameters"]["scales"])
        ):
            settings[index] = ", ".join(map(str, values.ravel().tolist()))
        shape = tuple(int(d) for d in details["shape"])
        held[index] = NodeWeight(str(details["name"]), shape, dtype, digest_of(values))
    found = []
    for number, op in enumerate(operators):
        results = [int(i) for i in op["outputs"] if int(i) in tensors]
        sources = [int(i) for i in op["inputs"] if int(i) in tensors]
        found.append(
            GraphNode(
                str(tensors[results[0]]["name"]) if results else f"{op['op_name']}_{number}",
                str(op["op_name"]),
                kind_of(Layer("", str(op["op_name"]))),
                tuple(names[i] for i in sources if i in made),
                tuple(names[i] for i in results),
                tuple(held[i] for i in sources if i in held and i not in settings),
                {f"input {place}": settings[i] for place, i in enumerate(sources) if i in settings},
            )
        )
        if op["op_name"] == "DEQUANTIZE" and sources[0] in held and results:  # weights in half precision
            held[results[0]] = held[sources[0]]
    return found


def _names(tensors: Mapping[int, dict[str, Any]]) -> dict[int, str]:
    """A name for each tensor: names in a file need not be unique."""
    counts = Counter(str(d["name"]) for d in tensors.values())
    return {i: str(d["name"]) if counts[str(d["name"])] == 1 else f"{d['name']}#{i}" for i, d in tensors.items()}


def values(path: Path, feeds: Mapping[str, NDArray[Any]], names: list[str]) -> Values:
    """All tensors that a file computes, as real numbers, by LiteRT's own kernels.

    Args:
        path: The file.
        feeds: Inputs by name.
        names: Names of the file's inputs, in its order.
    """
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_path=str(path),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    details = interpreter.get_input_details()
    for detail, name in zip(details, names, strict=True):
        interpreter.resize_tensor_input(detail["index"], feeds[name].shape)
    interpreter.allocate_tensors()
    for detail, name in zip(details, names, strict=True):
        interpreter.set_tensor(detail["index"], feeds[name])
    interpreter.invoke()
    tensors = {int(d["index"]): d for d in interpreter.get_tensor_details()}
    called = _names(tensors)
    found: Values = {}
    for op in interpreter._get_ops_details():
        for index in map(int, op["outputs"]):
            if index not in tensors or np.dtype(tensors[index]["dtype"]).kind not in "fiub":
                continue
            value, known = interpreter.get_tensor(index), tensors[index]["quantization_parameters"]
            if len(known["scales"]) and value.dtype.kind in "iu":
                value = real(value, known["scales"], known["zero_points"], int(known["quantized_dimension"]))
            found[called[index]] = value
    return found

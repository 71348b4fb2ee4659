"""Activations of an ONNX graph from int8 to uint8, which x86 has kernels for: the same numbers, 128 higher."""

from __future__ import annotations

from typing import Any

from deploykit.core.extras import require

_SHIFT = 128
_CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear"})


def unsign(graph: Any) -> None:
    """Store all activations between QuantizeLinear and DequantizeLinear in uint8; weights stay int8.

    What moves, compares or pads integers in between does the same 128 higher. The graph computes the same.

    Args:
        graph: A ``GraphProto``, changed in place.
    """
    np, helper = require("numpy", ""), require("onnx.numpy_helper", "")
    stored = {i.name: i for i in graph.initializer if i.data_type == _int8()}
    made: dict[str, str] = {}

    def higher(name: str) -> str:
        if name not in made:
            values = helper.to_array(stored[name]).astype(np.int16) + _SHIFT
            made[name] = f"{name}_unsigned"
            graph.initializer.append(helper.from_array(values.astype(np.uint8), made[name]))
        return made[name]

    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in stored:
            continue  # weights
        places = [2] if node.op_type in _CONVERSIONS else range(len(node.input))
        for place in places:
            if place < len(node.input) and node.input[place] in stored:
                node.input[place] = higher(node.input[place])
    used = {name for node in graph.node for name in node.input}
    left = [i for i in graph.initializer if i.name in used or i.name not in made]
    del graph.initializer[:]
    graph.initializer.extend(left)
    known = [v for v in graph.value_info if v.type.tensor_type.elem_type != _int8()]
    del graph.value_info[:]
    graph.value_info.extend(known)


def _int8() -> int:
    return int(require("onnx", "").TensorProto.INT8)

"""Gives ONNX graphs names and tensors of their own where ONNX Runtime's quantizers would take one for another.

They call what they add after what it belongs to, without looking whether that name is taken, copy a bias that several
layers share under such a name, and measure a tensor that only a Relu or Clip reads by what these give, though it may be
an output as well.
"""

from __future__ import annotations

from typing import Any

from deploykit.core.extras import require
from deploykit.loading._onnx.parts import has_inner_graphs
from deploykit.surgery.quantization.graphs import CONVERSIONS

#: What the quantizers put behind names.
_ADDED = (
    "_quantized", "_scale", "_zero_point", "_QuantizeLinear", "_QuantizeLinear_Input", "_QuantizeLinear_Output",
    "_DequantizeLinear", "_DequantizeLinear_Input", "_DequantizeLinear_Output", "_quant", "_dequantized", "_bias",
)  # fmt: skip
#: Operators with a bias as their third input.
_BIASED = frozenset({"Conv", "ConvTranspose"})
#: Operators whose range is taken for that of what they read.
_CLIPPING = frozenset({"Relu", "Clip"})


def separate(model: Any) -> bool:
    """Give shared biases, outputs that are read inside, and tensors called like others' parts names of their own.

    Args:
        model: A ``ModelProto``, changed in place; it computes what it did.

    Returns:
        Whether anything was changed.
    """
    graph = model.graph
    if has_inner_graphs(graph.node):
        return False  # inner graphs read tensors by name
    found = [_own_biases(graph), _own_outputs(graph), _own_names(graph)]
    return any(found)


def _names(graph: Any) -> set[str]:
    found = {i.name for i in graph.initializer} | {v.name for v in graph.input}
    return found | {name for node in graph.node for name in node.output}


def _fresh(base: str, taken: set[str]) -> str:
    name, number = f"{base}/own", 0
    while name in taken:
        number += 1
        name = f"{base}/own{number}"
    taken.add(name)
    return name


def _own_biases(graph: Any) -> bool:
    constants = {i.name: i for i in graph.initializer}
    taken, seen, changed = _names(graph), set[str](), False
    for node in graph.node:
        if node.op_type not in _BIASED or len(node.input) < 3 or node.input[2] not in constants:
            continue
        bias = node.input[2]
        if bias in seen:
            copied = type(constants[bias])()
            copied.CopyFrom(constants[bias])
            copied.name = node.input[2] = _fresh(bias, taken)
            graph.initializer.append(copied)
            changed = True
        seen.add(bias)
    return changed


def _own_outputs(graph: Any) -> bool:
    """An output that only a Relu or Clip reads inside is passed on by a node of its own."""
    helper = require("onnx.helper", "")
    outputs, taken, changed = {v.name for v in graph.output}, _names(graph), False
    for name in sorted(outputs):
        users = [node for node in graph.node if name in node.input]
        maker = next((node for node in graph.node if name in node.output), None)
        if maker is None or len(users) != 1 or users[0].op_type not in _CLIPPING:
            continue
        inner = _fresh(name, taken)
        place = list(graph.node).index(maker) + 1
        maker.output[:] = [inner if o == name else o for o in maker.output]
        users[0].input[:] = [inner if i == name else i for i in users[0].input]
        graph.node.insert(place, helper.make_node("Identity", [inner], [name], _fresh(f"{inner}_output", taken)))
        changed = True
    return changed


def _own_names(graph: Any) -> bool:
    """Rename tensors inside that are called like a part of another one."""
    taken = _names(graph)
    fixed = {v.name for v in (*graph.input, *graph.output)} | {i.name for i in graph.initializer}
    bases = taken | {node.name for node in graph.node}
    renamed = {
        name: _fresh(name, taken)
        for node in graph.node
        for name in node.output
        if name and name not in fixed
        and any(name.endswith(end) and name.removesuffix(end) in bases for end in _ADDED)
    }  # fmt: skip
    for node in graph.node if renamed else ():
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for node in graph.node:  # what an earlier quantizer has added: the next one would call its own nodes the same
        if node.op_type in CONVERSIONS and not node.name.endswith("/own"):
            node.name = f"{node.name}/own"
    for value in graph.value_info if renamed else ():
        value.name = renamed.get(value.name, value.name)
    return bool(renamed)

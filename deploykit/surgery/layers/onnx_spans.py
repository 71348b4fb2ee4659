"""The spans of an ONNX graph; see `deploykit.surgery.layers.spans`."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from deploykit.core.extras import require
from deploykit.loading._onnx.parts import STANDARD, initializers
from deploykit.surgery.channels.onnx_axes import captured, drop_unread
from deploykit.surgery.layers.onnx_chains import chains
from deploykit.surgery.layers.spans import Span, meetings

#: How branches of a block meet.
_MEETING = frozenset({"Add", "Mul"})


def spans(model: Any, shapes: Callable[[Collection[str]], Mapping[str, Any]]) -> list[Span]:
    """The spans of a graph that hold weights: layers, then blocks.

    Args:
        model: A ``ModelProto`` whose nodes have names, and none of whose nodes is unread.
        shapes: Gives shape and type of tensors by name, and must be the same at both ends of a span.
    """
    graph = model.graph
    constants = initializers(graph)
    inner = {name for node in graph.node for name in captured(node)}
    layers = [(c.layer.node, c.layer.node.input[0], c.end) for c in chains(graph, constants)]
    ways = [way for way in (*layers, *_blocks(graph, constants)) if way[2] not in inner]
    known = shapes({name for _, *ends in ways for name in ends})
    found: dict[tuple[str, str], Span] = {}
    for node, start, end in ways:
        if (start, end) in found or known[start] != known[end]:
            continue
        left = skipped(model, [(start, end)])
        there = {n.output[0] for n in left.graph.node if n.op_type != "Identity" or n.output[0] != end}
        nodes = tuple(n.name for n in graph.node if n.output[0] not in there)
        weights = _count(graph) - _count(left.graph)
        if weights > 0:
            found[start, end] = Span(node.name, node.op_type, start, end, nodes, weights)
    return list(found.values())


def skipped(model: Any, ways: Iterable[tuple[str, str]]) -> Any:
    """A copy of a graph without some spans; a ``ModelProto``.

    Args:
        model: The ``ModelProto``.
        ways: Start and end of each span.
    """
    onnx = require("onnx", "")
    made = onnx.ModelProto()
    made.CopyFrom(model)
    instead = {end: start for start, end in ways}

    def source(name: str) -> str:
        while name in instead:
            name = instead[name]
        return name

    outputs, graph = {value.name for value in made.graph.output}, made.graph
    for node in graph.node:
        node.input[:] = [source(name) for name in node.input]
    for number, node in enumerate(list(graph.node)):
        for end in [name for name in node.output if name in instead and name in outputs]:
            graph.node[number].CopyFrom(onnx.helper.make_node("Identity", [source(end)], [end], name=node.name))
    drop_unread(graph)
    there = {name for node in graph.node for name in node.output}
    for value in [v for v in graph.value_info if v.name not in there]:
        graph.value_info.remove(value)
    return made


def _blocks(graph: Any, constants: Collection[str]) -> Iterable[tuple[Any, str, str]]:
    """Every node in which a tensor meets what was computed from it."""
    found = []
    for node in graph.node:
        reads = [name for name in (*node.input, *captured(node)) if name and name not in constants]
        found.append((node, reads, list(node.output), node.op_type in _MEETING and node.domain in STANDARD))
    return meetings(found)


def _count(graph: Any) -> int:
    """Weights in kernels: vectors may be copies for each of several nodes, see `onnx_axes.plain`."""
    return sum(math.prod(t.dims) for t in graph.initializer if len(t.dims) > 1)

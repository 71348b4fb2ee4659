"""The operators a signature runs, with the weights each of them reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from deploykit.core.model import Layer
from deploykit.loading._saved_model.graph import MetaGraph, Node, Signature, base

_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
#: Operators that do no work of their own.
_SILENT = frozenset(
    {"Const", "Identity", "IdentityN", "NoOp", "Placeholder", "VarHandleOp", "ReadVariableOp", "Assert", "VariableV2"}
)
#: Operators that hand on the weights they are given.
_CARRIERS = frozenset({"Identity", "ReadVariableOp", "Cast", "Reshape", "Squeeze", "ExpandDims", "EnsureShape"})
_VARIABLES = frozenset({"VarHandleOp", "VariableV2", "Variable"})
_MAX_DEPTH = 24
_MAX_LAYERS = 20_000

#: A weight: where it is defined, and how many values it has.
WeightRef = tuple[str, int]


@dataclass
class Walk:
    """State of a walk through a signature's operators.

    Attributes:
        meta: The graph.
        layers: The operators that do work, in the order in which they run.
        weights: Where each weight is defined, and how many values it has.
        owners: The layer that reads a weight first.
    """

    meta: MetaGraph
    layers: list[Layer] = field(default_factory=list)
    weights: dict[str, int] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)

    def run(self, signature: Signature) -> None:
        """Collect the layers and weights of a signature."""
        nodes = self._needed([base(t.name) for t in signature.outputs])
        self._nodes(nodes, {}, "", 0)

    def _needed(self, names: list[str]) -> dict[str, Node]:
        """The nodes of the main graph that some of them need, in the order they run."""
        order: dict[str, Node] = {}
        waiting = [(name, False) for name in names]
        seen: set[str] = set()
        while waiting:
            name, ready = waiting.pop()
            node = self.meta.nodes.get(name)
            if node is None:
                continue
            if ready:
                order[name] = node
            elif name not in seen:
                seen.add(name)
                waiting.append((name, True))
                waiting += [(base(source), False) for source in node.inputs]
        return order

    def _nodes(self, nodes: Mapping[str, Node], given: Mapping[str, WeightRef], prefix: str, depth: int) -> None:
        for name, node in nodes.items():
            if node.op in _CALLS and depth < _MAX_DEPTH:
                for called in node.functions():
                    self._call(called, node, nodes, given, prefix, depth)
                continue
            if node.op in _SILENT or len(self.layers) >= _MAX_LAYERS:
                continue
            found = [self._weight(source, nodes, given, prefix) for source in node.inputs]
            fresh = dict(w for w in found if w is not None and w[0] not in self.weights)
            if fresh and node.op in _CARRIERS:
                continue
            self.weights |= fresh
            self.owners |= dict.fromkeys(fresh, prefix + name)
            self.layers.append(Layer(prefix + name, node.op, None, sum(fresh.values())))

    def _call(
        self, name: str, node: Node, nodes: Mapping[str, Node], given: Mapping[str, WeightRef], prefix: str, depth: int
    ) -> None:
        function = self.meta.functions.get(name)
        if function is None:
            return
        found = (self._weight(source, nodes, given, prefix) for source in node.inputs)
        arguments = {
            argument: weight for argument, weight in zip(function.arguments, found, strict=False) if weight is not None
        }
        self._nodes({n.name: n for n in function.nodes}, arguments, prefix, depth + 1)

    def _weight(
        self, source: str, nodes: Mapping[str, Node], given: Mapping[str, WeightRef], prefix: str
    ) -> WeightRef | None:
        """The weight an input carries, None when it is computed."""
        if source.startswith("^"):
            return None
        name = base(source)
        for _ in range(_MAX_DEPTH):
            if name in given:
                return given[name]
            node = nodes.get(name)
            if node is None:
                return None
            if node.op in _VARIABLES:
                return name, math.prod(d or 0 for d in node.shape() or ())
            if node.op == "Const":
                count = math.prod(d or 0 for d in node.constant_shape() or ())
                is_weight = count > 1 and node.dtype() in ("float16", "bfloat16", "float32", "float64")
                return (f"{prefix}{name}", count) if is_weight else None
            if node.op not in _CARRIERS or not node.inputs:
                return None
            name = base(node.inputs[0])
        return None


def collect(meta: MetaGraph, signature: Signature) -> tuple[tuple[Layer, ...], int]:
    """The layers of a signature, and its number of weights."""
    walk = walked(meta, signature)
    return tuple(walk.layers), sum(walk.weights.values())


def walked(meta: MetaGraph, signature: Signature) -> Walk:
    """What a walk through a signature's operators finds."""
    walk = Walk(meta)
    walk.run(signature)
    return walk

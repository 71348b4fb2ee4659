"""Finding GELU where exporters have spelled it out: TFLite has a kernel for it, and none for the error function."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_CLOSE = 1e-5


def fused(nodes: Sequence[Any], scalars: Mapping[str, float]) -> list[Any]:
    """The nodes with every x · (1 + erf(x / √2)) / 2 as one Gelu; what it was made of stays, and may not be read.

    Args:
        nodes: Nodes of a graph in order.
        scalars: Constants of one element.
    """
    if all(node.op_type != "Erf" for node in nodes):
        return list(nodes)
    find = _Finder(nodes, scalars)
    return [find.gelu(node) if node.op_type == "Mul" else node for node in nodes]


class _Finder:
    def __init__(self, nodes: Sequence[Any], scalars: Mapping[str, float]) -> None:
        self._makers = {node.output[0]: node for node in nodes if node.output}
        self._scalars = scalars

    def gelu(self, node: Any) -> Any:
        """A Gelu in place of the last product of one; the node itself when it is not that."""
        from onnx import helper

        factor, terms = self._product(node.output[0])
        if len(terms) != 2 or abs(factor - 0.5) > _CLOSE:
            return node
        for x, gate in (terms, terms[::-1]):
            if self._opened(gate) == x:
                return helper.make_node("Gelu", [x], list(node.output), name=node.name)
        return node

    def _product(self, name: str) -> tuple[float, list[str]]:
        """A tensor as a number times one or two others; products of more are left as they are."""
        node = self._makers.get(name)
        if node is None or len(node.input) > 2:
            return 1.0, [name]
        if node.op_type == "Neg":
            factor, terms = self._product(node.input[0])
            return -factor, terms
        if node.op_type == "Div" and self._scalars.get(node.input[1]):
            factor, terms = self._product(node.input[0])
            return factor / self._scalars[node.input[1]], terms
        if node.op_type != "Mul":
            return 1.0, [name]
        total, found = 1.0, []
        for source in node.input:
            if source in self._scalars:
                total *= self._scalars[source]
            else:
                factor, terms = self._product(source)
                total *= factor
                found += terms
        return (total, found) if len(found) <= 2 else (1.0, [name])

    def _opened(self, name: str) -> str:
        """The x of 1 + erf(x / √2), "" when a tensor is not that."""
        node = self._makers.get(name)
        if node is None or node.op_type not in ("Add", "Sub"):
            return ""
        sides = [(self._scalars.get(a), b) for a, b in (tuple(node.input), tuple(node.input)[::-1])]
        inner = next((b for one, b in sides[: 1 if node.op_type == "Sub" else 2] if one == 1.0), "")
        sign = -1.0 if node.op_type == "Sub" else 1.0
        while inner in self._makers and self._makers[inner].op_type == "Neg":
            inner, sign = self._makers[inner].input[0], -sign
        error = self._makers.get(inner)
        if error is None or error.op_type != "Erf":
            return ""
        factor, terms = self._product(error.input[0])
        return terms[0] if len(terms) == 1 and abs(sign * factor - math.sqrt(0.5)) < _CLOSE else ""

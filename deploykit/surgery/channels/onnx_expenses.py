"""What the weights of an ONNX graph cost, so that a budget can be spread over its layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from deploykit.surgery.channels.budget import Expense, Kind, owners
from deploykit.surgery.channels.labels import Ranking
from deploykit.surgery.channels.onnx_axes import Traced


def expenses(traced: Traced, rankings: Sequence[Ranking], kind: Kind) -> list[Expense]:
    """The weights of convolutions and matrix products, by the group that each of their indices belongs to.

    Args:
        traced: The graph.
        rankings: The groups, whose places in this list are their numbers.
        kind: What a weight costs: ``"parameters"``: 1; ``"macs"``: how often it is multiplied for one example.
    """
    numbers = owners(rankings)
    found = []
    for node in traced.model.graph.node:
        if node.op_type not in {"Conv", "ConvTranspose", "Gemm", "MatMul"} or node.input[1] not in traced.constants:
            continue
        shape = traced.shapes.get(node.output[0]) or []
        places = shape[2:] if node.op_type.startswith("Conv") else shape[1:-1]
        price = 1.0 if kind == "parameters" else float(math.prod(size or 1 for size in places))
        found.append(Expense.of(traced.labels, traced.axes[node.input[1]], numbers, price))
    return found

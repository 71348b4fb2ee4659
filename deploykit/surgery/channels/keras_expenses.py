"""What the weights of a Keras model cost, so that a budget can be spread over its layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from deploykit.surgery.channels.budget import Expense, Kind, owners
from deploykit.surgery.channels.keras_axes import Traced
from deploykit.surgery.channels.keras_graph import Step
from deploykit.surgery.channels.labels import Ranking


def expenses(traced: Traced, rankings: Sequence[Ranking], kind: Kind) -> list[Expense]:
    """The kernels of layers, by the group that each of their indices belongs to.

    Args:
        traced: The model.
        rankings: The groups, whose places in this list are their numbers.
        kind: What a weight costs: ``"parameters"``: 1; ``"macs"``: how often it is multiplied for one example.
    """
    numbers = owners(rankings)
    used: dict[str, float] = {}
    for step in traced.flat.steps:
        if step.part != "activation":
            used[step.name] = used.get(step.name, 0.0) + _times(traced, step)
    found = []
    for name, values in traced.constants.items():
        if values.ndim < 2:
            continue
        price = 1.0 if kind == "parameters" else used.get(name.rsplit(":", 1)[0], 0.0)
        found.append(Expense.of(traced.labels, traced.axes[name], numbers, price))
    return found


def _times(traced: Traced, step: Step) -> float:
    """How often each weight of a step is used for one example."""
    if step.kind in {"Embedding", "PReLU"}:
        return 0.0
    turned = step.kind.endswith("Transpose")
    shape = list(traced.shapes[step.input[0] if turned else step.output[0]])
    del shape[1 if getattr(step.op, "data_format", "") == "channels_first" else -1]
    halves = step.kind.startswith("Separable") or step.part in {"heads", "projection"}
    parts = 2.0 if halves else 1.0  # both halves write as many places
    return math.prod(float(size or 1) for size in shape[1:]) / parts

"""Spreading what is removed over the groups of a model, so that one budget is met with the least damage."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from deploykit.surgery.channels.labels import Labels, Ranking, kept_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What is saved and follows from shapes: weights, or multiply-accumulates for one example.
Kind = Literal["parameters", "macs"]


@dataclass(frozen=True)
class Expense:
    """A weight and what each of its numbers costs.

    Attributes:
        axes: For each axis, how many of its indices belong to each group, by the group's number; what belongs to none
            is under -1.
        price: Cost of one number: 1 for parameters, positions of the output for multiply-accumulates.
        curve: What is paid instead where costs do not grow with the numbers: shares of them, ascending up to 1, and
            cost; multiplied by the price.
    """

    axes: tuple[Mapping[int, int], ...]
    price: float
    curve: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of(
        cls, labels: Labels, axes: Iterable[NDArray[Any] | None], numbers: Mapping[int, int], price: float,
        curve: tuple[tuple[float, float], ...] = (),
    ) -> Expense:  # fmt: skip
        """From the labels of a weight's axes, and the numbers of groups that `owners` gives."""
        return cls(
            tuple(Counter(numbers.get(int(c), -1) for c in labels.roots(axis)) for axis in axes if axis is not None),
            price,
            curve,
        )

    def cost(self, kept: Sequence[float]) -> float:
        """Its cost when of each group only a share of the components is kept."""
        size = math.prod(sum(n * (kept[g] if g >= 0 else 1.0) for g, n in axis.items()) for axis in self.axes)
        if not self.curve:
            return self.price * size
        return self.price * _between(self.curve, size / math.prod(sum(axis.values()) for axis in self.axes))


def _between(curve: Sequence[tuple[float, float]], share: float) -> float:
    """The cost on straight lines between points; below the first one on the line from there to nothing."""
    for (first, low), (second, high) in itertools.pairwise([(0.0, 0.0), *curve]):
        if share <= second:
            return low + (high - low) * (share - first) / (second - first)
    return curve[-1][1]


def owners(rankings: Sequence[Ranking]) -> dict[int, int]:
    """Every component with the number of its group: its place among the rankings."""
    return {component: k for k, ranking in enumerate(rankings) for component in ranking.group.components}


def spread(
    rankings: Sequence[Ranking],
    expenses: Sequence[Expense],
    ratio: float,
    multiple: int = 1,
    steps: int = 16,
) -> list[int]:
    """How many components of each group to remove.

    Going step by step, the group comes next whose damage is smallest for what it saves. Damage counts squared, so that
    no layer is ruined for the sake of the others.

    Args:
        rankings: Every group.
        expenses: What the model costs.
        ratio: Share of the whole cost to save.
        multiple: What stays of a group is a multiple of it; see `kept_count`.
        steps: In how many steps a group may go at most.

    Returns:
        Counts, one for each group; together they save at least ``ratio`` where that is possible.
    """
    sizes = [len(ranking.group.components) for ranking in rankings]
    gone = [0] * len(rankings)
    shares = [1.0] * len(rankings)
    touched = [[e for e in expenses if any(k in axis for axis in e.axes)] for k in range(len(rankings))]
    whole = sum(e.cost(shares) for e in expenses)
    goal, cost = (1.0 - ratio) * whole, whole
    while cost > goal:
        best: tuple[float, int, int, float] | None = None
        for k, ranking in enumerate(rankings):
            order = ranking.order
            count = _next(sizes[k], gone[k], len(order), multiple, steps)
            if count <= gone[k]:
                continue
            more = [*shares]
            more[k] = 1.0 - count / sizes[k]
            saved = sum(e.cost(shares) - e.cost(more) for e in touched[k])
            before = order[gone[k] - 1][1] if gone[k] else 0.0
            worth = (order[count - 1][1] ** 2 - before**2) / max(saved, 1e-12)
            if best is None or worth < best[0]:
                best = worth, k, count, saved
        if best is None:
            break
        _, k, count, saved = best
        gone[k], shares[k], cost = count, 1.0 - count / sizes[k], cost - saved
    return gone


def _next(size: int, gone: int, most: int, multiple: int, steps: int) -> int:
    """How many are gone after the next step."""
    for count in range(gone + max(1, size // steps), most + 1):
        kept = size - count
        if kept == kept_count(size, count / size, multiple) or multiple == 1:
            return count
    return gone

"""Which channels of a model can be removed together, and which of them to remove.

Every index of every axis of every tensor has a label. Operations join labels: an addition joins the channels of what it
adds, a concatenation puts labels one after another, a flattening repeats them. What ends up with one label (a
*component*) can only be removed as a whole, and label 0 is never removed: inputs and outputs of the model, axes of
space and time, and everything an operation without a rule touches. Components that leave one layer compete with each
other: they are a *group*.

Source: the dependency graphs of DepGraph (Fang et al. 2023, https://arxiv.org/abs/2301.12900), as labels.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Labels:
    """Labels and what joins them, as a union-find. Label 0 is frozen: what is joined with it stays."""

    def __init__(self) -> None:
        self._parent = [0]
        self._parts: list[NDArray[Any]] = []

    def fresh(self, count: int) -> NDArray[Any]:
        """New labels for ``count`` indices."""
        import numpy as np

        start = len(self._parent)
        self._parent.extend(range(start, start + count))
        return np.arange(start, start + count)

    def root(self, label: int) -> int:
        """The component of a label."""
        parent = self._parent
        while parent[label] != label:
            parent[label] = parent[parent[label]]
            label = parent[label]
        return label

    def roots(self, labels: NDArray[Any]) -> NDArray[Any]:
        """The component of each label, shape (labels,)."""
        import numpy as np

        return np.fromiter((self.root(int(x)) for x in labels), np.int64, len(labels))

    def join(self, first: NDArray[Any] | None, second: NDArray[Any] | None) -> None:
        """Join two axes index by index; an axis of unknown length freezes the other."""
        if first is None or second is None:
            self.freeze(first if second is None else second)
            return
        for a, b in zip(first, second, strict=True):
            x, y = self.root(int(a)), self.root(int(b))
            if x != y:
                self._parent[max(x, y)] = min(x, y)

    def freeze(self, labels: NDArray[Any] | None) -> None:
        """Never remove anything that is joined with these."""
        for label in () if labels is None else labels:
            self._parent[self.root(int(label))] = 0

    def part(self, labels: NDArray[Any] | None) -> None:
        """Note an axis of which something must stay: a part of another axis that is used on its own."""
        if labels is not None:
            self._parts.append(labels)

    def spared(self, rankings: Iterable[Ranking], gone: Collection[int]) -> set[int]:
        """What must stay of ``gone`` so that no part is empty: of each part, what was to go last."""
        place = {c: k / len(r.order) for r in rankings for k, (c, _) in enumerate(r.order)}
        found: set[int] = set()
        for part in self._parts:
            components = {int(c) for c in self.roots(part)}
            if components and components <= set(gone) - found:
                found.add(max(components, key=lambda c: (place[c], c)))
        return found

    def is_live(self, labels: NDArray[Any] | None) -> bool:
        """Whether any of these can be removed, as far as is known by now."""
        return labels is not None and any(self.root(int(x)) for x in labels)


@dataclass(frozen=True)
class Producer:
    """An axis of a weight that makes channels.

    Attributes:
        weight: Name of the weight.
        axis: Its axis of output channels.
        layer: Name of the layer that owns it.
    """

    weight: str
    axis: int
    layer: str


@dataclass(frozen=True)
class Group:
    """Components that compete: the output channels of one layer or of layers that are added to each other.

    Attributes:
        components: Their labels, in the order of the channels.
        layers: Names of the layers that make them.
    """

    components: tuple[int, ...]
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Ranking:
    """In which order the components of a group go.

    Attributes:
        group: The group.
        order: Component and the damage done when it and those before it have gone; the last component is left out: one
            channel stays.
    """

    group: Group
    order: tuple[tuple[int, float], ...]


def groups(labels: Labels, made: Iterable[tuple[Producer, NDArray[Any]]]) -> list[Group]:
    """The groups of a model, in the order in which its layers run.

    Args:
        labels: The model's labels.
        made: Every producer with the labels of its axis.
    """
    parent: dict[int, int] = {}
    owners: dict[int, list[str]] = {}

    def top(x: int) -> int:
        while parent.setdefault(x, x) != x:
            parent[x] = parent[parent[x]]
            x = parent[x]
        return x

    for producer, axis in made:
        found = list(dict.fromkeys(int(x) for x in labels.roots(axis) if x))
        for component in found:
            owners.setdefault(component, []).append(producer.layer)
            first, second = top(found[0]), top(component)
            if first != second:
                parent[second] = first
    members: dict[int, list[int]] = {}
    for component in list(parent):
        members.setdefault(top(component), []).append(component)
    return [
        Group(tuple(sorted(found)), tuple(dict.fromkeys(name for c in found for name in owners[c])))
        for found in members.values()
        if len(found) > 1
    ]


def kept_count(count: int, ratio: float, multiple: int) -> int:
    """How many of ``count`` channels stay when a share ``ratio`` is to go.

    Args:
        count: Channels of the group.
        ratio: Share to remove, at least 0 and less than 1.
        multiple: What stays is a multiple of it where the group has that many; kernels are fastest at multiples of 8
            or 16.
    """
    kept = max(1, count - math.floor(count * ratio))
    if multiple > 1 and count >= multiple:
        kept = min(count, math.ceil(kept / multiple) * multiple)
    return kept


def ranked(found: Sequence[Group], scores: Mapping[int, float]) -> list[Ranking]:
    """Groups whose components go from the lowest score to the highest; the damage is the share of all scores gone."""
    rankings = []
    for group in found:
        total = sum(scores.get(c, 0.0) for c in group.components) or 1.0
        order, gone = [], 0.0
        for component in sorted(group.components, key=lambda c: (scores.get(c, 0.0), c))[:-1]:
            gone += scores.get(component, 0.0)
            order.append((component, gone / total))
        rankings.append(Ranking(group, tuple(order)))
    return rankings


def kept(labels: Labels, axis: NDArray[Any], gone: Collection[int]) -> NDArray[Any]:
    """Which indices of an axis stay, shape (indices,), bool."""
    import numpy as np

    return ~np.isin(labels.roots(axis), np.fromiter(gone, np.int64, len(gone)))


def magnitudes(
    labels: Labels, made: Sequence[tuple[Producer, NDArray[Any]]], weights: Mapping[str, NDArray[Any]], power: int
) -> dict[int, float]:
    """The sum of |w|^power over the weights that make each component (filter norms; Li et al. 2017).

    Args:
        labels: The model's labels.
        made: Every producer with the labels of its axis.
        weights: Weights by name.
        power: 1 for the l1 norm, 2 for the square of the l2 norm.

    Source: https://arxiv.org/abs/1608.08710
    """
    import numpy as np

    found: dict[int, float] = {}
    for producer, axis in made:
        values = np.abs(weights[producer.weight].astype(np.float64)) ** power
        sums = values.sum(tuple(k for k in range(values.ndim) if k != producer.axis))
        for component, value in zip(labels.roots(axis), sums, strict=True):
            found[int(component)] = found.get(int(component), 0.0) + float(value)
    return found

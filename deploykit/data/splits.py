"""Seeded, stratified splits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: With more examples than this, classes are kept in proportion by counting instead of sorting, block by block.
MOST_SORTED = 1 << 17
_BLOCK = 1 << 16


def shuffled(count: int, labels: NDArray[Any] | None, seed: int) -> NDArray[np.int64]:
    """An order of ``count`` examples in which every prefix has each class in proportion.

    Args:
        count: Number of examples.
        labels: Class indices, shape (count,), or None (or real numbers) for a plain shuffle.
        seed: The same seed gives the same order.

    Returns:
        A permutation, shape (count,).
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    order = rng.permutation(count)
    if labels is None or labels.ndim != 1 or labels.dtype.kind not in "iub":
        return order
    # Position of each example within its class, scaled to [0, 1): sorting by it interleaves the classes.
    _, group, sizes = np.unique(labels[order], return_inverse=True, return_counts=True)
    first = np.cumsum(sizes) - sizes
    rank = np.empty(count, np.int64)
    by_class = np.argsort(group, kind="stable")
    rank[by_class] = np.arange(count) - first[group[by_class]]
    place = (rank + rng.random(len(sizes))[group]) / sizes[group]
    return order[np.argsort(place, kind="stable")]


def cut(order: NDArray[Any], shares: tuple[float, ...]) -> list[NDArray[Any]]:
    """Cut an order into consecutive parts of the given shares, which sum to one."""
    import numpy as np

    ends = np.round(np.cumsum(shares) * len(order)).astype(int)
    return np.split(order, ends[:-1])


def dealt(
    count: int, labels: NDArray[Any] | None, seed: int, shares: tuple[float, ...], groups: NDArray[Any] | None = None
) -> list[NDArray[Any]]:
    """Places of examples for each of several parts, each class in proportion in all of them.

    Beyond `MOST_SORTED` examples a part has its share of each class to one example, in random order.

    Args:
        count: Number of examples.
        labels: As in `shuffled`.
        seed: The same seed gives the same parts.
        shares: Of the parts; they sum to one.
        groups: What each example is a part of: groups are dealt as wholes, each with the label of its first example.
    """
    import numpy as np

    if groups is not None:
        names, first, own = np.unique(groups, return_index=True, return_inverse=True)
        whole = dealt(len(names), None if labels is None else labels[first], seed, shares)
        order = shuffled(count, labels, seed)
        return [order[np.isin(own[order], places)] for places in whole]
    if count <= MOST_SORTED:
        return cut(shuffled(count, labels, seed), shares)
    rng = np.random.default_rng(seed)
    order = np.arange(count, dtype=np.uint32 if count < 1 << 32 else np.int64)
    rng.shuffle(order)
    if labels is None or labels.ndim != 1 or labels.dtype.kind not in "iub":
        return cut(order, shares)
    part = _dealt(order, labels, rng, np.cumsum(shares)[:-1])
    return [order[part == i] for i in range(len(shares))]


def _dealt(order: NDArray[Any], labels: NDArray[Any], rng: np.random.Generator, ends: NDArray[Any]) -> NDArray[np.int8]:
    """The part of each example in the order: by its place among those of its class."""
    import numpy as np

    starts = range(0, len(order), _BLOCK)
    classes = np.unique(np.concatenate([np.unique(labels[s : s + _BLOCK]) for s in starts]))
    sizes, seen = np.zeros(len(classes), np.int64), np.zeros(len(classes), np.int64)
    for s in starts:
        sizes += np.bincount(np.searchsorted(classes, labels[s : s + _BLOCK]), minlength=len(classes))
    offset = rng.random(len(classes))
    part = np.empty(len(order), np.int8)
    for s in starts:
        group = np.searchsorted(classes, labels[order[s : s + _BLOCK]])
        by_class = np.argsort(group, kind="stable")
        here = np.bincount(group, minlength=len(classes))
        rank = np.empty(len(group), np.int64)
        rank[by_class] = np.arange(len(group)) - (np.cumsum(here) - here)[group[by_class]]
        place = (seen[group] + rank + offset[group]) / sizes[group]
        part[s : s + _BLOCK] = np.searchsorted(ends, place, side="right")
        seen += here
    return part


def drawn(count: int, labels: NDArray[Any] | None, seed: int, size: int) -> NDArray[np.int64]:
    """Places of some examples, each class in proportion: the first of `shuffled`, or of a random choice of very many.

    Args:
        count: Number of examples.
        labels: As in `shuffled`.
        seed: The same seed gives the same examples.
        size: How many are drawn at most.
    """
    import numpy as np

    if count <= MOST_SORTED or size > _BLOCK:
        return shuffled(count, labels, seed)[:size]
    few = np.unique(np.random.default_rng(seed).integers(0, count, _BLOCK))
    return few[shuffled(len(few), None if labels is None else labels[few], seed)[:size]]

"""Seeded, stratified splits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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


def cut(order: NDArray[np.int64], shares: tuple[float, ...]) -> list[NDArray[np.int64]]:
    """Cut an order into consecutive parts of the given shares, which sum to one."""
    import numpy as np

    ends = np.round(np.cumsum(shares) * len(order)).astype(int)
    return np.split(order, ends[:-1])

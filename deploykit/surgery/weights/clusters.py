"""Shared values: k-means of the weights of one kernel, from the starts that TF-MOT has."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

#: Weights that k-means++ draws its starts from: of more, as many of them evenly spaced by rank.
_DRAWN = 65_536
#: Probabilities between which the density places its starts, as TF-MOT does.
_LEAST, _MOST = 0.01, 1.0


def clustered(values: NDArray[Any], count: int, start: str, iterations: int, seed: int) -> NDArray[Any]:
    """The weights of a kernel, each replaced by the nearest of a few values.

    The values are the means of k-means (Lloyd's algorithm) in one dimension. Where weights are zero, zero is one of the
    values and stays exactly that; the others are shared out between negative and positive weights in proportion, as
    TF-MOT does to preserve sparsity.

    Args:
        values: The weights, any shape. Their order does not matter.
        count: How many values, zero included. A kernel that has no more stays as it is.
        start: A name from `STARTS`.
        iterations: How often means are computed at most; 0 keeps the starts, as TF-MOT does before it trains.
        seed: Of what is drawn.

    Returns:
        The same shape and type.
    """
    import numpy as np

    ordered = np.sort(values, axis=None).astype(np.float64)
    if len(np.unique(ordered)) <= count:
        return values
    centers = _starts(ordered, count, start, np.random.default_rng(seed))
    centers = _means(ordered, centers, iterations)
    nearest = np.searchsorted(_borders(centers), values.ravel())
    found: NDArray[Any] = centers.astype(values.dtype)[nearest].reshape(values.shape)
    return found


def _starts(ordered: NDArray[Any], count: int, start: str, random: Generator) -> NDArray[Any]:
    """The values that k-means begins with, in order."""
    import numpy as np

    negative, positive = ordered[ordered < 0], ordered[ordered > 0]
    others = len(negative) + len(positive)
    if others == len(ordered):
        return np.unique(STARTS[start](ordered, count, random))
    below = round((count - 1) * len(negative) / others)
    parts = [(negative, below), (positive, count - 1 - below)]
    found = [STARTS[start](part, number, random) for part, number in parts if number and len(part)]
    return np.unique(np.concatenate([*found, np.zeros(1)]))


def _means(ordered: NDArray[Any], centers: NDArray[Any], iterations: int) -> NDArray[Any]:
    """Lloyd's algorithm; a value that no weight is nearest to stays where it is, and so does zero."""
    import numpy as np

    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    fixed = (centers == 0) & bool(np.any(ordered == 0))
    for _ in range(iterations):
        ends = np.concatenate([[0], np.searchsorted(ordered, _borders(centers), side="right"), [len(ordered)]])
        sizes = np.diff(ends)
        moved = np.where((sizes == 0) | fixed, centers, np.diff(sums[ends]) / np.maximum(sizes, 1))
        if np.array_equal(moved, centers):
            break
        centers = moved
    return centers


def _borders(centers: NDArray[Any]) -> NDArray[Any]:
    """Where the nearest value changes; a weight halfway belongs to the lower one."""
    found: NDArray[Any] = (centers[1:] + centers[:-1]) / 2
    return found


def _linear(ordered: NDArray[Any], count: int, _random: Generator) -> NDArray[Any]:
    """Evenly spaced between the smallest and the largest weight."""
    import numpy as np

    return np.linspace(ordered[0], ordered[-1], count)


def _density(ordered: NDArray[Any], count: int, _random: Generator) -> NDArray[Any]:
    """As many weights between any two: quantiles at evenly spaced probabilities."""
    import numpy as np

    found: NDArray[Any] = np.quantile(ordered, np.linspace(_LEAST, _MOST, count))
    return found


def _far_apart(ordered: NDArray[Any], count: int, random: Generator) -> NDArray[Any]:
    """Greedy k-means++ (Arthur and Vassilvitskii 2007): each drawn with the square of the distance to those before.

    Of several that are drawn at a time, the one that leaves the least error is taken.
    """
    import numpy as np

    if len(ordered) > _DRAWN:
        ordered = ordered[np.linspace(0, len(ordered) - 1, _DRAWN).round().astype(int)]
    trials = 2 + int(math.log(count))
    found = [float(ordered[random.integers(len(ordered))])]
    left = (ordered - found[0]) ** 2
    while len(found) < count and left.any():
        reached = np.cumsum(left)
        places = np.searchsorted(reached, random.random(trials) * reached[-1], side="right")
        drawn = ordered[places.clip(max=len(left) - 1)]
        errors = np.minimum(left, (ordered - drawn[:, None]) ** 2)
        best = int(errors.sum(1).argmin())
        found.append(float(drawn[best]))
        left = errors[best]
    return np.array(found)


#: How k-means begins: from the weights in order, how many values, and what draws.
STARTS: Mapping[str, Callable[[NDArray[Any], int, Generator], NDArray[Any]]] = {
    "kmeans++": _far_apart, "linear": _linear, "density": _density,
}  # fmt: skip

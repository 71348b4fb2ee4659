"""How far what a node computes is from what it computed before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def relative_error(before: NDArray[Any], after: NDArray[Any]) -> tuple[float, int] | None:
    """Relative L2 error ‖after - before‖ / ‖before‖, and how many channels it leaves out.

    Where one axis is shorter, channels were removed: those that are left are found by their values, in order, as the
    choice with the smallest error. Layouts with channels first and last are compared as well.

    Args:
        before: A tensor of the original, batch first.
        after: The tensor of the candidate, from the same examples.

    Returns:
        None when the shapes do not fit together, or a value is not finite.
    """
    import numpy as np

    old, new = (np.asarray(x, np.float64) for x in (before, after))
    left_out = 0
    if old.shape != new.shape:
        fitted = _fitted(old, new)
        if fitted is None:
            return None
        old, new, left_out = fitted
    norm = float(np.linalg.norm(old))
    error = float(np.linalg.norm(new - old))
    if not np.isfinite(norm) or not np.isfinite(error):
        return None
    return (0.0 if error == 0 else error / norm if norm else float("inf"), left_out)


def ends(values: NDArray[Any]) -> tuple[float, float] | None:
    """The lowest and the highest of some numbers; None where there are none, or one is not finite."""
    import numpy as np

    if not values.size or values.dtype.kind not in "fiu":
        return None
    found = float(values.min()), float(values.max())
    return found if np.isfinite(found).all() else None


def saturated(before: NDArray[Any], after: NDArray[Any]) -> float | None:
    """Share of numbers that lie beyond what a tensor reaches now: those that were cut off at an end of its range.

    Args:
        before: A tensor of the original.
        after: The tensor of the candidate.
    """
    limits = ends(after)
    if limits is None or not before.size:
        return None
    # A step of the grid of 8 bits beyond: rounding alone moves an end by no more than half of one.
    step = (limits[1] - limits[0]) / 255
    return float(((before < limits[0] - step) | (before > limits[1] + step)).mean())


def _fitted(old: NDArray[Any], new: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], int] | None:
    """The parts of both that belong together."""
    import numpy as np

    if old.size == new.size and [d for d in old.shape if d != 1] == [d for d in new.shape if d != 1]:
        return old, new.reshape(old.shape), 0
    if old.ndim != new.ndim:
        return None
    for moved in (new, np.moveaxis(new, -1, 1), np.moveaxis(new, 1, -1)) if new.ndim > 2 else (new,):
        if moved.shape == old.shape:
            return old, moved, 0
        axes = [k for k in range(1, old.ndim) if old.shape[k] != moved.shape[k]]
        if old.shape[0] == moved.shape[0] and len(axes) == 1 and moved.shape[axes[0]] < old.shape[axes[0]]:
            kept = _kept(*(np.moveaxis(x, axes[0], 0).reshape(x.shape[axes[0]], -1) for x in (old, moved)))
            return np.take(old, kept, axes[0]), moved, old.shape[axes[0]] - len(kept)
    return None


def _kept(old: NDArray[Any], new: NDArray[Any]) -> list[int]:
    """Rows of ``old`` that those of ``new`` are, in order: the increasing choice with the smallest sum of squares."""
    import numpy as np

    cost = (new**2).sum(1)[:, None] + (old**2).sum(1)[None] - 2 * new @ old.T
    rows, columns = cost.shape
    best = np.zeros(columns + 1)
    ends = []
    for j in range(rows):
        total = np.full(columns + 1, np.inf)
        total[j + 1 :] = best[j:-1] + cost[j, j:]
        ends.append(total)
        best = np.minimum.accumulate(total)
    kept, limit = [], columns
    for total in reversed(ends):
        limit = int(np.argmin(total[: limit + 1])) - 1
        kept.append(limit)
    return kept[::-1]

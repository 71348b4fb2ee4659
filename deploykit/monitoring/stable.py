"""Random numbers that are the same forever: a profile names a seed instead of holding its projections.

NumPy does not promise that a seed gives the same numbers in its next version, so these come from whole numbers alone:
SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) and exact sums of its output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = (1 << 64) - 1


def uniform(seed: int, count: int) -> NDArray[Any]:
    """Numbers in [0, 1), shape (count,), float64: the top 53 bits of SplitMix64's output.

    Example:
        >>> from deploykit.monitoring.stable import uniform
        >>> uniform(0, 2).round(6).tolist()
        [0.883311, 0.431528]
    """
    import numpy as np

    with np.errstate(over="ignore"):
        state = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN) + np.uint64(seed & _MASK)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(_FIRST)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(_SECOND)
        state ^= state >> np.uint64(31)
    found: NDArray[Any] = (state >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return found


def bell(seed: int, rows: int, columns: int) -> NDArray[Any]:
    """Numbers of mean 0 and variance 1, shape (rows, columns), float32: sums of twelve uniform ones, less six.

    They are nearly normal, and need no logarithm whose last digit depends on the machine.

    Example:
        >>> from deploykit.monitoring.stable import bell
        >>> drawn = bell(1, 1000, 4)
        >>> abs(float(drawn.mean())) < 0.05, abs(float(drawn.std()) - 1) < 0.05
        (True, True)
    """
    import numpy as np

    parts = uniform(seed, 12 * rows * columns).reshape(12, rows, columns)
    total = parts[0].copy()
    for part in parts[1:]:
        total += part
    found: NDArray[Any] = (total - 6.0).astype(np.float32)
    return found


def spread_all(values: NDArray[Any], groups: int) -> NDArray[Any]:
    """A group for each of many whole numbers, as `spread` gives it; the same shape.

    Example:
        >>> import numpy as np
        >>> from deploykit.monitoring.stable import spread, spread_all
        >>> spread_all(np.array([[3, 5]]), 8).tolist() == [[spread(3, 8), spread(5, 8)]]
        True
    """
    import numpy as np

    with np.errstate(over="ignore"):
        state = values.astype(np.int64).view(np.uint64) * np.uint64(_GOLDEN) + np.uint64(_FIRST)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(_SECOND)
        state ^= state >> np.uint64(31)
    found: NDArray[Any] = (state % np.uint64(groups)).astype(np.int64)
    return found


def spread(value: int, groups: int) -> int:
    """A group for a whole number, the same one forever.

    Example:
        >>> from deploykit.monitoring.stable import spread
        >>> {spread(value, 4) for value in range(100)}
        {0, 1, 2, 3}
    """
    state = (value * _GOLDEN + _FIRST) & _MASK
    state = ((state ^ (state >> 30)) * _SECOND) & _MASK
    return (state ^ (state >> 31)) % groups

"""Weights rounded to what a few bits can hold, as real numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def affine(rows: NDArray[Any], bits: int) -> NDArray[Any]:
    """Evenly spaced values from the smallest to the largest weight of each row.

    q = round((w − min) / (max − min) · (2ⁿ − 1)), and back. Where weights are zero, the values are shifted by half a
    step at most, so that zero is one of them.

    Args:
        rows: Shape (rows, weights of one), float64.
        bits: n.
    """
    import numpy as np

    low, high = rows.min(1, keepdims=True), rows.max(1, keepdims=True)
    levels = 2**bits - 1
    step = np.where(high > low, (high - low) / levels, 1.0)
    zeros = (rows == 0).any(1, keepdims=True)
    low = np.where(zeros, -np.round(-low / step) * step, low)
    whole = np.clip(np.round((rows - low) / step), 0, levels)
    found: NDArray[Any] = np.where(zeros, (whole - np.round(-low / step)) * step, low + whole * step)
    return found


def power_of_two(rows: NDArray[Any], bits: int) -> NDArray[Any]:
    """Whole numbers of n bits, divided by a power of two: q = round(w · 2ᵖ), and back.

    p is the largest with which all weights of a row fit between −(2ⁿ⁻¹ − 1) and 2ⁿ⁻¹ − 1.

    Args:
        rows: Shape (rows, weights of one), float64.
        bits: n.
    """
    import numpy as np

    reach = np.abs(rows).max(1, keepdims=True)
    places = np.floor(np.log2((2 ** (bits - 1) - 1) / np.where(reach > 0, reach, 1.0)))
    found: NDArray[Any] = np.ldexp(np.round(np.ldexp(rows, places.astype(int))), -places.astype(int))
    return found


#: What rounds rows to a number of bits.
GRIDS: Mapping[str, Callable[[NDArray[Any], int], NDArray[Any]]] = {"affine": affine, "power_of_two": power_of_two}

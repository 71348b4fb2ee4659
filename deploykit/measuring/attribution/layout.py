"""What of an example can be hidden: patches of images, windows of series, columns, tokens, words."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from deploykit.core.serial import Plain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Kind = Literal["image", "series", "volume", "table", "tokens", "text"]
#: Kinds that are hidden in patches, whose places are drawn.
PATCHED: frozenset[str] = frozenset({"image", "series", "volume"})
#: A vector of more numbers is a series, whose neighbors belong together.
_MOST_COLUMNS = 128
_MOST_CHANNELS = 4
#: Shortest side of an image, and how much longer the other may be.
_LEAST_SIDE = 4
_MOST_ASPECT = 6
#: A patch has this share of each side.
_PART = 6
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Layout(Plain):
    """How an input is split up.

    Attributes:
        input: Name of the input.
        kind: What it is taken for.
        axes: Axes of an example (without the batch) that are split up; the others are hidden as a whole.
        shape: Of what is found for it.
    """

    input: str
    kind: Kind
    axes: tuple[int, ...]
    shape: tuple[int, ...]


def layout_of(name: str, example: NDArray[Any], *, integers: bool = False) -> Layout:
    """What an input is taken for, by its shape and type.

    Args:
        name: Of the input.
        example: One example as the model takes it, without the batch.
        integers: Whether the model takes integers that are not quantized numbers: they are tokens where an example has
            several in a row.
    """
    shape = example.shape
    if example.dtype.kind in "SUO":
        if example.size == 1 and len(words_of(example.ravel()[0])) > 1:
            return Layout(name, "text", (), (len(words_of(example.ravel()[0])),))
        return Layout(name, "table", (), (example.size,))
    if len(shape) == 1 and integers and example.size > 1:
        return Layout(name, "tokens", (0,), shape)
    if len(shape) == 1 and example.size > _MOST_COLUMNS:
        return Layout(name, "series", (0,), shape)
    if example.size == 1 or len(shape) < 2:
        return Layout(name, "table", (), (example.size,))
    if len(shape) == 2:
        if min(shape) >= _LEAST_SIDE and max(shape) <= _MOST_ASPECT * min(shape):
            return Layout(name, "image", (0, 1), shape)
        return Layout(name, "series", (0,), shape[:1])
    axes = tuple(range(len(shape)))
    if shape[-1] <= _MOST_CHANNELS:
        axes = axes[:-1]
    elif shape[0] <= _MOST_CHANNELS:
        axes = axes[1:]
    return Layout(name, "image" if len(axes) == 2 else "volume", axes, tuple(shape[a] for a in axes))


def words_of(text: Any) -> list[tuple[int, int]]:
    """Start and end of each word."""
    return [found.span() for found in _WORD.finditer(as_text(text))]


def as_text(value: Any) -> str:
    """Text of an example, given as text or as bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def patch_of(shape: Sequence[int], patch: int | None) -> tuple[int, ...]:
    """Sides of a patch; by default a sixth of each side, at least two."""
    wanted = (max(2, round(side / _PART)) if patch is None else patch for side in shape)
    return tuple(min(one, side) for one, side in zip(wanted, shape, strict=True))


def tilings(shape: Sequence[int], patch: Sequence[int], count: int, seed: int) -> tuple[list[NDArray[np.int64]], bool]:
    """Ways to cover a map with patches, each shifted at random: every place is hidden once in each.

    Args:
        shape: Of the map.
        patch: Sides of a patch.
        count: How many ways.
        seed: Of the shifts.

    Returns:
        The number of the patch at each place, shape ``shape``, for each way; and whether these are all ways there are.
    """
    import numpy as np

    ways = math.prod(patch)
    if ways <= count:
        shifts = list(itertools.product(*(range(side) for side in patch)))
    else:
        drawn = np.random.default_rng(seed).choice(ways, count, replace=False)
        shifts = [tuple(int(i) for i in np.unravel_index(one, tuple(patch))) for one in drawn]
    found = []
    for shift in shifts:
        cells = [(np.arange(side) + off) // size for side, off, size in zip(shape, shift, patch, strict=True)]
        sizes = [int(c[-1]) + 1 for c in cells]
        found.append(np.ravel_multi_index(np.meshgrid(*cells, indexing="ij"), sizes).astype(np.int64))
    return found, ways <= count

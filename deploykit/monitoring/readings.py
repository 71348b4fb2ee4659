"""What is measured of raw inputs: brightness and contrast of a tensor, columns of a table, length and words of a text.

Every number becomes a rank against the reference, so that features lie in [0, 1] whatever the units.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from deploykit.core.serial import Plain
from deploykit.monitoring.stable import spread_all

if TYPE_CHECKING:
    from numpy.typing import NDArray

Sort = Literal["tensor", "table", "text", "tokens"]

#: Examples of one axis with more numbers than this are tensors.
MOST_COLUMNS = 512
#: Whole numbers of so many places or more are tokens: words by number.
_FEWEST_TOKENS = 16
#: Most values of one example that are read; of larger ones every n-th, n a prime.
MOST_VALUES = 4096
#: Most rows along the longest axis of one example whose texture is read.
MOST_ROWS = 8
_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 37, 47, 59, 79, 101, 127, 163, 211, 269, 347, 449, 577, 743, 953, 1229,
           1579, 2029, 2609, 3359, 4327, 5557, 7151, 9199)  # fmt: skip
#: Bits of the vocabulary's filter, and most words that are put into it.
VOCABULARY_BITS, _MOST_WORDS = 8192, 1600
#: Most characters of a text that are read.
_MOST_CHARACTERS = 20_000
#: So few columns are ranked one by one.
_FEW = 16
#: A column with at most so many different values is a category.
MOST_CATEGORIES = 8


@dataclass(frozen=True)
class Read(Plain):
    """How one input is read.

    Attributes:
        name: The input.
        sort: What it is taken for.
        dtype: As clients send it, NumPy's name; ``"string"`` for text.
        shape: Of one example.
        columns: Which columns of a table are watched one by one; empty for others.
        categories: How many values each of these has, 0 for numbers.
    """

    name: str
    sort: Sort
    dtype: str
    shape: tuple[int, ...]
    columns: tuple[int, ...] = ()
    categories: tuple[int, ...] = ()

    @property
    def worded(self) -> bool:
        """Whether it has words or tokens, and so a vocabulary."""
        return self.sort in ("text", "tokens")

    @property
    def shown(self) -> str:
        """Its name in messages."""
        return self.name if len(self.name) <= 60 else self.name[:57] + "…"


def sort_of(array: NDArray[Any]) -> Sort:
    """What an input is taken for, by its dtype and the shape of its examples."""
    if array.dtype.kind in "OSU":
        return "text"
    width = array.shape[1] if array.ndim == 2 else 1
    if array.ndim == 2 and array.dtype.kind in "iu" and array.dtype.itemsize >= 4 and width >= _FEWEST_TOKENS:
        return "tokens"
    return "table" if array.ndim <= 2 and width <= MOST_COLUMNS else "tensor"


def measured(read: Read, array: NDArray[Any], vocabulary: NDArray[Any] | None) -> NDArray[Any]:
    """Numbers that are ranked, shape (examples, numbers), float32; missing ones are NaN.

    A tensor's are its mean and standard deviation; a table's its watched columns; a text's its length in characters
    and the share of words that the reference has not; a row of tokens' its length and share of unknown ones.
    """
    import numpy as np

    if read.sort == "table":
        flat = array.reshape(len(array), -1)
        chosen = flat if len(read.columns) == flat.shape[1] else flat[:, list(read.columns)]
        return chosen.astype(np.float32)
    if read.sort == "tensor":
        return moments(array)
    assert vocabulary is not None
    return _words_measured(rows_of(read, array), vocabulary)


def moments(array: NDArray[Any]) -> NDArray[Any]:
    """Mean and standard deviation of each example, shape (examples, 2), float32; NaN where a number is missing."""
    import numpy as np

    flat = array.reshape(len(array), -1)
    step = next((p for p in (1, *_PRIMES) if flat.shape[1] <= p * MOST_VALUES), _PRIMES[-1])
    values = flat[:, ::step].astype(np.float32)
    width = max(values.shape[1], 1)
    base = np.float32(0)
    if flat.dtype.itemsize > 1 and values.size and np.isfinite(values[0, 0]):
        base = values[0, 0].copy()
        values -= base  # sums of squares lose digits far from zero
    ones = np.full(values.shape[1], np.float32(1 / width))
    with np.errstate(invalid="ignore", over="ignore"):
        mean = values @ ones
        square = np.einsum("ij,ij->i", values, values) / np.float32(width)
        found = np.stack([mean + base, np.sqrt(np.maximum(square - mean * mean, 0))], axis=1)
    if flat.dtype.itemsize > 1:
        found[~np.isfinite(found).all(axis=1)] = np.nan
    return found


def texture(array: NDArray[Any], moments: NDArray[Any]) -> NDArray[Any]:
    """How rough each example is, and how its edges differ from the rest, shape (examples, 2), float32.

    Both are along the longest axis: the mean step from one place to the next, and the mean of the outer eighths less
    that of all, in units of the example's contrast. Noise is rough whatever its mean; an image whose colors are
    inverted has other edges.

    Args:
        array: The examples, batch first.
        moments: Their means and standard deviations.
    """
    import numpy as np

    values = array.reshape(len(array), -1) if array.ndim < 3 else array
    axis = int(np.argmax(values.shape[1:])) + 1
    length = values.shape[axis]
    if length < 2:
        return np.zeros((len(array), 2), np.float32)
    step = max(1, values[0].size // (length * MOST_ROWS))
    rows = np.moveaxis(values, axis, 1).reshape(len(values), length, -1)[:, :, ::step].astype(np.float32)
    wide = np.float32(1 / rows[0].size)
    with np.errstate(invalid="ignore", over="ignore"):
        mean, contrast = moments.T
        contrast = contrast + np.float32(1e-6) * np.abs(mean) + np.float32(1e-12)
        steps = np.abs(rows[:, 1:] - rows[:, :-1]).reshape(len(rows), -1)
        rough = steps @ np.full(steps.shape[1], wide)
        edge = max(1, length // 8)
        outer = (rows[:, :edge].mean(axis=(1, 2)) + rows[:, -edge:].mean(axis=(1, 2))) / 2
        return np.stack([rough / contrast, (outer - mean) / contrast], axis=1)


def rows_of(read: Read, array: NDArray[Any]) -> list[NDArray[Any]]:
    """Length and hashed words of each text, or of each row of tokens without its padding (the last value, repeated)."""
    import numpy as np

    if read.sort == "text":
        return [_words(item) for item in array.reshape(len(array), -1).tolist()]
    other = array != array[:, -1:]
    ends = np.where(other.any(axis=1), array.shape[1] - other[:, ::-1].argmax(axis=1) + 1, 1)
    ends = np.minimum(ends, array.shape[1])
    hashed = spread_all(array, VOCABULARY_BITS)
    return [np.concatenate([[end], row[:end]]) for end, row in zip(ends.tolist(), hashed, strict=True)]


def _words(items: Sequence[Any]) -> NDArray[Any]:
    import numpy as np

    texts = [item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in items]
    text = " ".join(texts)[:_MOST_CHARACTERS]
    words = (zlib.crc32(word.encode("utf-8", "replace")) % VOCABULARY_BITS for word in text.lower().split())
    return np.array([len(text), *words])


def _words_measured(rows: Sequence[NDArray[Any]], vocabulary: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    known = np.unpackbits(vocabulary)
    found = np.empty((len(rows), 2), np.float32)
    for place, row in enumerate(rows):
        found[place] = row[0], 1 - known[row[1:]].mean() if len(row) > 1 else 0
    return found


def vocabulary_of(rows: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """A filter of the most frequent words: `VOCABULARY_BITS` bits, packed."""
    import numpy as np

    counts = np.bincount(np.concatenate([row[1:] for row in rows]).astype(np.int64), minlength=VOCABULARY_BITS)
    known = np.zeros(VOCABULARY_BITS, np.uint8)
    common = np.argsort(-counts, kind="stable")[:_MOST_WORDS]
    known[common[counts[common] > 0]] = 1
    return np.packbits(known)


def knots_of(values: NDArray[Any], count: int) -> NDArray[Any]:
    """Quantiles of the columns of (examples, columns), shape (columns, count), float32; zeros where all are missing."""
    import numpy as np

    levels = np.linspace(0, 1, count)
    found = np.zeros((values.shape[1], count), np.float32)
    for place, column in enumerate(values.T):
        finite = column[np.isfinite(column)]
        if finite.size:
            found[place] = np.quantile(finite, levels)
    return found


def ranks(values: NDArray[Any], knots: NDArray[Any]) -> NDArray[Any]:
    """Share of the knots below each value (equal ones count half), in [0, 1]; one half where a value is missing."""
    import numpy as np

    found: NDArray[Any]
    if len(knots) <= _FEW:
        below = [own.searchsorted(v) + own.searchsorted(v, "right") for own, v in zip(knots, values.T, strict=True)]
        found = np.array(below, np.float32).T
    else:
        wide = values[:, :, None]
        found = (wide > knots).sum(axis=2, dtype=np.float32) + (wide >= knots).sum(axis=2, dtype=np.float32)
    found *= np.float32(0.5 / knots.shape[1])
    missing = np.isnan(values)
    if missing.any():
        found[missing] = 0.5
    return found

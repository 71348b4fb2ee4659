"""Examples that stay where they are, on the disk, and are read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.mapped import blocks, is_large, let_go, stowed, taken

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


#: Places and hashes of examples up to this size are held in memory.
MOST_KEPT_BYTES = 256 << 10
#: The multiplier of SplitMix64.
_ODD = 0xBF58476D1CE4E5B9


class Rows:
    """Chosen examples of arrays on the disk, in any order. Indexing reads those that are asked for.

    It has what is used of an array: shape, dtype, length, indexing along the first axis, ``numpy.asarray``.

    Args:
        sources: The arrays, one after the other, of one dtype and shape.
        index: Places of the examples in them; None for all.
        change: Applied to each block of examples when it is read; None for nothing.
        form: Shape and dtype of an example then; None keeps them.
    """

    #: Read on demand: see `deploykit.core.mapped.is_large`.
    lazy = True

    def __init__(
        self,
        sources: Sequence[NDArray[Any]],
        index: NDArray[Any] | None = None,
        change: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
        form: tuple[tuple[int, ...], np.dtype[Any]] | None = None,
    ) -> None:
        self.sources = tuple(sources)
        self.index = index
        self._change = change
        self._lengths = [len(source) for source in self.sources]
        count = sum(self._lengths) if index is None else len(index)
        self._form = form or (self.sources[0].shape[1:], self.sources[0].dtype)
        self.shape: tuple[int, ...] = (count, *self._form[0])
        self.dtype = self._form[1]

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        found = 1
        for dim in self.shape:
            found *= dim
        return found

    @property
    def nbytes(self) -> int:
        """Size in bytes of all examples."""
        return self.size * self.dtype.itemsize

    def __getitem__(self, index: Any) -> NDArray[Any]:
        import numpy as np

        if isinstance(index, tuple):
            rows = self[index[0]]
            return rows[(..., *index[1:]) if np.isscalar(index[0]) else (slice(None), *index[1:])]
        places = self._places(index)
        if places.ndim == 0:
            one: NDArray[Any] = self._read(places[None])[0]
            return one
        return self._read(places)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for _, block in blocks(self):
            yield from block

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        found = self[:]
        return found if dtype is None else found.astype(dtype, copy=False)

    def take(self, index: Any) -> Rows:
        """Some of the examples, still on the disk."""
        return Rows(self.sources, _kept(self._places(index)), self._change, self._form)

    def joined(self, other: Rows) -> Rows:
        """These and after them others, still on the disk."""
        import numpy as np

        mine, theirs, sources = self._places(slice(None)), other._places(slice(None)), self.sources
        if [id(s) for s in self.sources] != [id(s) for s in other.sources]:
            sources, theirs = (*sources, *other.sources), theirs.astype(np.int64) + sum(self._lengths)
        return Rows(sources, _kept(np.concatenate([mine, theirs])), self._change, self._form)

    def changed(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Rows:
        """The examples with something done to each block of them when it is read."""
        before = self._change
        both = change if before is None else lambda block: change(before(block))
        probe = change(self[:1])
        return Rows(self.sources, self.index, both, (probe.shape[1:], probe.dtype))

    def astype(self, dtype: Any, *, copy: bool = True) -> Rows:
        """The examples as another dtype, converted when they are read."""
        del copy
        return self.changed(lambda block: block.astype(dtype))

    def hashes(self, part: slice, known: dict[int, NDArray[Any]]) -> NDArray[np.uint64]:
        """See `hashes`, of some of the examples.

        Args:
            part: Which.
            known: Hashes of arrays on the disk, by the identity of the array; those that lack are added.
        """
        for source in self.sources:
            if id(source) not in known:
                known[id(source)] = stowed(hashes(source), MOST_KEPT_BYTES)
        return self._gathered(self._places(part), [known[id(source)] for source in self.sources])

    def _places(self, index: Any) -> NDArray[Any]:
        import numpy as np

        if self.index is not None:
            found = np.array(self.index[index])
            let_go(self.index)
            return found
        if isinstance(index, slice):
            return np.arange(*index.indices(len(self)))
        places = np.asarray(index)
        return places.nonzero()[0] if places.dtype == bool else np.where(places < 0, places + len(self), places)

    def _read(self, places: NDArray[Any]) -> NDArray[Any]:
        return self._changed(self._gathered(places, self.sources))

    def _gathered(self, places: NDArray[Any], sources: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Rows of arrays that follow each other."""
        import numpy as np

        if len(sources) == 1:
            return _sorted_read(sources[0], places)
        found = np.empty((len(places), *sources[0].shape[1:]), np.result_type(*(s.dtype for s in sources)))
        first = 0
        for source, length in zip(sources, self._lengths, strict=True):
            here = (places >= first) & (places < first + length)
            found[here] = _sorted_read(source, places[here].astype(np.int64) - first)
            first += length
        return found

    def _changed(self, found: NDArray[Any]) -> NDArray[Any]:
        return found if self._change is None else self._change(found)


def _sorted_read(source: NDArray[Any], places: NDArray[Any]) -> NDArray[Any]:
    """Examples at places, read in the order in which they lie on the disk."""
    import numpy as np

    order = np.argsort(places, kind="stable")
    found = taken(source, places[order])
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return found[back]


def _kept(places: NDArray[Any]) -> NDArray[Any]:
    """Places of examples, on the disk as well if they are many."""
    import numpy as np

    narrow = places.astype(np.uint32) if not len(places) or int(places.max()) < 1 << 32 else places
    return stowed([narrow], MOST_KEPT_BYTES)


def left(array: NDArray[Any]) -> Any:
    """An array, its examples left where they are if it is on the disk and large."""
    return Rows([array]) if is_large(array) else array


def changed(array: Any, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Any:
    """An array with something done to it, block by block when it is read if it is on the disk."""
    return array.changed(change) if isinstance(array, Rows) else change(array)


def hashes(array: NDArray[Any]) -> Iterator[NDArray[np.uint64]]:
    """A number for each example, the same for equal ones and almost certainly different for others, block by block.

    Multilinear hashing modulo 2⁶⁴ (Thorup, *High Speed Hashing for Integers and Strings*, 2015).
    """
    import numpy as np

    factors: NDArray[np.uint64] | None = None
    for _, block in blocks(array):
        raw = np.ascontiguousarray(block).reshape(len(block), -1).view(np.uint8)
        if lacking := -raw.shape[1] % 8:
            raw = np.pad(raw, ((0, 0), (0, lacking)))
        words = raw.view(np.uint64)
        if factors is None:
            factors = np.random.default_rng(0).integers(0, 1 << 64, words.shape[1], np.uint64) | np.uint64(1)
        mixed = words ^ (words >> np.uint64(32))  # high bits alone must reach the low ones
        mixed *= np.uint64(_ODD)
        mixed ^= mixed >> np.uint64(29)
        mixed *= factors
        yield mixed.sum(axis=1)

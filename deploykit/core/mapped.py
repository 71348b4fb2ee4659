"""Arrays that lie in files: read block by block, so that the memory of a process does not grow with them.

What is read through a memory map counts as memory of the process until it is let go, and a page brings its neighbors
along: single rows are read from the file itself.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.core.files import cache_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Arrays up to this size are held in memory.
LARGE_BYTES = 8 << 20
#: What is read at a time of larger ones.
BLOCK_BYTES = 256 << 10
#: Examples that are read at a time at least.
_FEWEST = 8


def mapping(array: Any) -> Any:
    """The memory map that an array is, or is a part of; None for one in memory."""
    import numpy as np

    while array is not None and not isinstance(array, np.memmap):
        array = getattr(array, "base", None)
    return array


def is_large(array: Any) -> bool:
    """Whether an array lies in a file, and is too large to be held in memory."""
    return getattr(array, "nbytes", 0) > LARGE_BYTES and (hasattr(array, "lazy") or mapping(array) is not None)


def let_go(array: Any) -> None:
    """Let the pages of a file that were read through a memory map go; what was written stays in the file."""
    root = mapping(array)
    mapped = getattr(root, "_mmap", None)
    if mapped is not None and root.mode in ("r", "r+", "w+") and hasattr(mapped, "madvise"):
        import mmap

        mapped.madvise(mmap.MADV_DONTNEED)


def give_back() -> None:
    """Return memory that was freed to the system, where the C library can (glibc): large arrays came and went."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def steps(array: Any) -> int:
    """How many examples of an array are read at a time."""
    return max(_FEWEST, len(array) * BLOCK_BYTES // max(1, int(array.nbytes)))


def blocks(array: Any, step: int = 0) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Parts of an array one after the other, with their places; one that is not large is one part.

    Args:
        array: The array.
        step: Examples of a part, 0 for as many as fit.
    """
    import numpy as np

    step = step or (max(1, len(array)) if getattr(array, "nbytes", 0) <= LARGE_BYTES else steps(array))
    for start in range(0, len(array), step):
        part = slice(start, min(start + step, len(array)))
        yield part, np.asarray(array[part])
        if is_large(array):
            let_go(array)


def distinct(*arrays: Any) -> NDArray[Any]:
    """The different values of arrays, sorted."""
    import numpy as np

    found = [np.unique(block) for array in arrays for _, block in blocks(array)]
    return found[0] if len(found) == 1 else np.unique(np.concatenate(found))


def extremes(array: Any) -> tuple[Any, Any]:
    """The smallest and the largest value of an array that is not empty."""
    found = [(block.min(), block.max()) for _, block in blocks(array)]
    return min(low for low, _ in found), max(high for _, high in found)


def each(array: Any, holds: Callable[[NDArray[Any]], Any]) -> bool:
    """Whether something holds for every part of an array."""
    return all(bool(holds(block)) for _, block in blocks(array))


def taken(array: Any, index: Any) -> NDArray[Any]:
    """The examples at some places of an array; of one that lies in a file, each is read from there.

    Raises:
        DatasetError: The file has become shorter.
    """
    import numpy as np

    root = mapping(array)
    index = np.asarray(index)
    if index.dtype == bool:
        index = index.nonzero()[0]
    plain = root is not None and array.flags.c_contiguous and array.ndim and index.ndim == 1 and array.nbytes
    if not plain or not hasattr(os, "preadv") or array.nbytes <= LARGE_BYTES or root.mode == "c":
        return np.asarray(array[index])
    index = np.where(index < 0, index + len(array), index).astype(np.int64)
    if len(index) and not 0 <= index.min() <= index.max() < len(array):
        raise IndexError(f"index out of bounds for {len(array)} examples")
    found = np.empty((len(index), *array.shape[1:]), array.dtype)
    start = root.offset + array.ctypes.data - root.ctypes.data
    with _descriptor(root) as descriptor:
        _read_rows(descriptor, found, index, start)
    return found


def _read_rows(descriptor: int, found: NDArray[Any], index: NDArray[np.int64], start: int) -> None:
    """Fill rows from a file that holds them one after the other from ``start`` on."""
    import numpy as np

    size = found.nbytes // max(1, len(found))
    flat: Any = found.reshape(-1).view(np.uint8).data if found.size else memoryview(b"")
    ends = np.flatnonzero(np.diff(index) != 1) + 1  # rows that follow each other are read at once
    edges = [0, *ends.tolist(), len(index)]
    first = (start + index * size).tolist()
    for begin, end in pairwise(edges):
        done, wanted = begin * size, end * size
        place = first[begin] if begin < end else 0
        while done < wanted:
            got = os.preadv(descriptor, [flat[done:wanted]], place)
            if not got:
                raise DatasetError(
                    "A file of the data has become shorter while it was used.", remedy="read the data again."
                )
            done, place = done + got, place + got


@contextlib.contextmanager
def _descriptor(root: Any) -> Iterator[int]:
    file = getattr(root, "file", None)
    if file is not None:
        yield file.number
        return
    descriptor = os.open(root.filename, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def map_file(file: Any, dtype: Any, shape: tuple[int, ...], offset: int = 0, *, fortran: bool = False) -> NDArray[Any]:
    """A part of an opened file as an array that keeps it open; the file object itself is closed."""
    import numpy as np

    with file:
        file.flush()
        found = np.memmap(file, dtype, "r", offset, shape, "F" if fortran else "C")
        found.file = _Descriptor(os.dup(file.fileno()))  # type: ignore[attr-defined]  # views keep the array
    return found


class _Descriptor:
    """An open file, closed when nothing refers to it any more."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.number)


def open_mapped(path: Path) -> NDArray[Any]:
    """The array of an ``.npy`` file as a memory map that can only be read."""
    import numpy as np

    return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]  # NumPy's stub


def write_array(path: Path, array: Any) -> None:
    """Write an array as an ``.npy`` file block by block.

    Raises:
        OSError: It cannot be written, for example for want of room.
    """
    import numpy as np

    with path.open("wb") as file:
        header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
        np.lib.format.write_array_header_1_0(file, header)
        for _, block in blocks(array):
            file.write(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)


def nameless() -> Any:
    """A file on the disk of the cache that has no name: however this process ends, nothing of it is left."""
    folder = cache_folder() / "reading"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return tempfile.TemporaryFile(dir=folder)


class Growing:
    """Examples that come in blocks: in memory as long as they are few, else in a file without a name.

    Args:
        limit: Largest size in bytes in memory; None for `LARGE_BYTES`.

    Example:
        >>> import numpy as np
        >>> from deploykit.core.mapped import Growing
        >>> rows = Growing()
        >>> for start in (0, 2):
        ...     rows.append(np.arange(start, start + 2))
        >>> rows.array().tolist()
        [0, 1, 2, 3]
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = LARGE_BYTES if limit is None else limit
        self._parts: list[NDArray[Any]] = []
        self._bytes = self._count = 0
        self._file: Any = None
        self._shape: tuple[int, ...] = ()
        self._dtype: Any = None

    def __len__(self) -> int:
        return self._count

    def append(self, block: NDArray[Any]) -> None:
        """Take examples of the dtype and shape of those before; text may become wider."""
        import numpy as np

        self._count += len(block)
        if self._file is None:
            self._parts.append(block)
            self._bytes += block.nbytes
            if self._bytes <= self._limit or block.dtype == object or block.dtype.kind in "SU":
                return
            self._file = nameless()
            self._shape, self._dtype = self._parts[0].shape[1:], np.result_type(*(p.dtype for p in self._parts))
            parts, self._parts = self._parts, []
        else:
            parts = [block]
        for part in parts:
            self._file.write(np.ascontiguousarray(part, self._dtype).data)

    def array(self) -> NDArray[Any]:
        """All examples; no more can be taken then."""
        import numpy as np

        if self._file is None:
            return np.concatenate(self._parts) if len(self._parts) != 1 else self._parts[0]
        return map_file(self._file, self._dtype, (self._count, *self._shape))

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()


def stowed(arrays: Iterable[NDArray[Any]], limit: int | None = None) -> NDArray[Any]:
    """Arrays after each other as one, in a file without a name if they have more than so many bytes."""
    found = Growing(limit)
    for array in arrays:
        found.append(array)
    return found.array()

"""Outputs that are written to a file while a model answers, in whatever order it does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.mapped import LARGE_BYTES, let_go, mapping, taken
from deploykit.storage.disk import make_private

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Pages of a file that were written to count as memory until they are let go: after so many rows.
_LET_GO_ROWS = 1024


class Written:
    """An ``.npy`` file whose rows are filled in any order; it appears under its name when it is complete.

    Args:
        path: The file.
        count: Number of rows.
    """

    def __init__(self, path: Path, count: int) -> None:
        self._path = path
        self._temporary = path.with_suffix(".tmp.npy")
        self._count = count
        self._array: Any = None
        self._touched = 0

    def put(self, places: NDArray[Any], rows: NDArray[Any]) -> None:
        """Fill rows.

        Raises:
            OSError: There is no room for the file.
        """
        if self._array is None:
            self._array = self._begun(rows)
        if rows.dtype.kind in "SU" and rows.dtype.itemsize > self._array.dtype.itemsize:
            self._array = self._array.astype(rows.dtype)  # text gets the width of the longest
        self._array[places] = rows
        self._touched += len(rows)
        if self._touched >= _LET_GO_ROWS:
            self._touched = 0
            let_go(self._array)

    def _begun(self, rows: NDArray[Any]) -> NDArray[Any]:
        import numpy as np

        shape = (self._count, *rows.shape[1:])
        if rows.dtype.kind in "SU" or rows[:1].nbytes * self._count <= LARGE_BYTES:
            return np.empty(shape, rows.dtype)
        with self._temporary.open("wb") as file:
            header = {"descr": rows.dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            size = file.tell() + rows[:1].nbytes * self._count
            if hasattr(os, "posix_fallocate"):  # writing to a page without room would end the process
                file.flush()
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
        return np.load(self._temporary, mmap_mode="r+", allow_pickle=False)  # type: ignore[no-any-return]

    def rows(self, places: NDArray[Any]) -> NDArray[Any]:
        """Rows that were filled."""
        return taken(self._array, places)

    @property
    def array(self) -> NDArray[Any]:
        """All rows, those that were not filled with anything in them; None before the first are filled."""
        return self._array  # type: ignore[no-any-return]

    def keep(self) -> None:
        """Give the file its name."""
        import numpy as np

        if mapping(self._array) is None:
            np.save(self._temporary, self._array, allow_pickle=False)
        else:
            self._array.flush()
        make_private(self._temporary)
        self._temporary.replace(self._path)

    def drop(self) -> None:
        """Remove what is not complete: on a full disk it takes the room others need."""
        self._temporary.unlink(missing_ok=True)

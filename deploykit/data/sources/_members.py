"""Arrays of ``.npz`` files and folders of ``.npy`` files: small ones are read, large ones stay on the disk."""

from __future__ import annotations

import contextlib
import io
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from deploykit.core import mapped
from deploykit.core.errors import DatasetError
from deploykit.core.mapped import map_file, nameless
from deploykit.data.sources._paths import present

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Of a zip archive: the fixed part of a member's own header, where it keeps the lengths of what follows.
_HEADER, _NAME_AT, _EXTRA_AT = 30, 26, 28
_ENCRYPTED = 1
_COPIED = 1 << 20


class Members(Protocol):
    """Arrays by name."""

    @property
    def names(self) -> list[str]:
        """Their names."""

    def header(self, name: str) -> tuple[tuple[int, ...] | None, str]:
        """Shape and kind of dtype of an array, read without the array; None and "" when it cannot be read."""

    def read(self, name: str) -> NDArray[Any]:
        """An array, mapped if it is large.

        Raises:
            ValueError: It holds Python objects, or cannot be read.
        """


@contextlib.contextmanager
def members(path: Path) -> Iterator[Members]:
    """The arrays of an ``.npz`` file, or of a folder with one ``.npy`` file for each.

    Raises:
        DatasetError: It is neither.
    """
    if path.is_dir():
        yield _Folder(path)
        return
    present(path)
    if not zipfile.is_zipfile(path):
        raise DatasetError(f"{path} is not an .npz file.", remedy="write it with numpy.savez(path, x=…, y=…).")
    with zipfile.ZipFile(path) as archive:
        yield _Archive(path, archive)


class _Folder:
    """A folder of ``.npy`` files."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.names = sorted(p.stem for p in path.iterdir() if p.suffix == ".npy" and not p.name.startswith("."))

    def header(self, name: str) -> tuple[tuple[int, ...] | None, str]:
        file = self._path / f"{name}.npy"
        present(file)
        with contextlib.suppress(ValueError, EOFError), file.open("rb") as opened:
            shape, _, dtype = _head(opened)
            return shape, dtype.kind
        return None, ""

    def read(self, name: str) -> NDArray[Any]:
        file = self._path / f"{name}.npy"
        present(file)
        with file.open("rb") as opened:
            return _array(opened, file.stat().st_size)


class _Archive:
    """An ``.npz`` file."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path = path
        self._archive = archive
        self._infos = {i.filename.removesuffix(".npy"): i for i in archive.infolist()}
        self.names = list(self._infos)

    def header(self, name: str) -> tuple[tuple[int, ...] | None, str]:
        with contextlib.suppress(ValueError, KeyError, EOFError), self._archive.open(self._infos[name]) as member:
            shape, _, dtype = _head(member)
            return shape, dtype.kind
        return None, ""

    def read(self, name: str) -> NDArray[Any]:
        info = self._infos[name]
        if info.file_size <= mapped.LARGE_BYTES:
            with self._archive.open(info) as member:
                return _array(io.BytesIO(member.read()), info.file_size)
        if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & _ENCRYPTED:
            with self._path.open("rb") as file:
                file.seek(info.header_offset)
                head = file.read(_HEADER)
                lengths = (int.from_bytes(head[at : at + 2], "little") for at in (_NAME_AT, _EXTRA_AT))
                file.seek(info.header_offset + _HEADER + sum(lengths))
                return _array(file, info.file_size)
        with nameless() as file, self._archive.open(info) as member:
            shutil.copyfileobj(member, file, _COPIED)
            file.seek(0)
            return _array(file, info.file_size)


def _head(file: IO[bytes]) -> tuple[tuple[int, ...], bool, Any]:
    """Shape, whether the first axis changes fastest, and dtype; the file is then where the values begin."""
    from numpy.lib import format as npy

    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(file)
    if version not in readers:
        raise ValueError(f"version {version} of the .npy format is not known")
    shape, fortran, dtype = readers[version](file)
    return tuple(shape), fortran, dtype


def _array(file: Any, size: int) -> NDArray[Any]:
    """The array that begins where the file is, mapped if it is large."""
    import numpy as np

    start = file.tell()
    shape, fortran, dtype = _head(file)
    offset = file.tell()
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded when allow_pickle=False")
    wanted = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    if offset - start + wanted > size:
        raise ValueError(f"it has {size - offset + start:,} bytes of values, expected {wanted:,}")
    if wanted > mapped.LARGE_BYTES:
        return map_file(file, dtype, shape, offset, fortran=fortran)
    return np.frombuffer(file.read(wanted), dtype).reshape(shape, order="F" if fortran else "C").copy()

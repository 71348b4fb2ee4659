"""Reads HDF5 weight files with distrust: every size is checked against the file before anything is allocated.

Runs in a child process. Follows hard links only, so nothing outside the file is ever opened.
"""

from __future__ import annotations

import contextlib
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploykit.core.errors import ModelFileError

MAGIC = b"\x89HDF\r\n\x1a\n"
#: Most groups and datasets of a file.
MAX_OBJECTS = 200_000
_MAX_DEPTH = 64
_BLOCK = 1 << 22
_AGAIN = "save, copy or download the model again."


@dataclass
class Tensor:
    """A dataset.

    Attributes:
        path: Its path in the file, without a slash in front.
        count: Number of values.
        bytes: Bytes of its values.
        flaw: ``"NaN"``, ``"infinite values"`` or "".
    """

    path: str
    count: int
    bytes: int
    flaw: str = ""


@dataclass
class Contents:
    """What a weight file holds.

    Attributes:
        tensors: All datasets, in file order.
        names: Path of a group → the layer name noted there.
    """

    tensors: list[Tensor] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    def count(self, prefix: str, skip: tuple[str, ...] = ()) -> int:
        """Number of values below a group, without those whose path has one of the ``skip`` parts."""
        start = f"{prefix}/" if prefix else ""
        return sum(t.count for t in self.tensors if t.path.startswith(start) and not set(t.path.split("/")) & set(skip))


def check_length(path: Path, shown: str) -> None:
    """Compare the length a file's superblock promises with what is there.

    Raises:
        ModelFileError: The file is shorter, or its superblock is damaged.
    """
    with path.open("rb") as file:
        head = file.read(64)
    size = path.stat().st_size
    at = {0: 40, 1: 44, 2: 28, 3: 28}.get(head[8] if len(head) > 8 else -1)
    if at is None or not head.startswith(MAGIC):
        raise ModelFileError(f"{shown}: not an HDF5 file: its superblock is damaged.", remedy=_AGAIN)
    if len(head) < at + 8:
        raise ModelFileError(f"{shown}: truncated: {size:,} bytes, less than HDF5's superblock.", remedy=_AGAIN)
    (promised,) = struct.unpack_from("<Q", head, at)
    if promised > size:
        raise ModelFileError(
            f"{shown}: truncated: {size:,} of {promised:,} bytes are there (by its HDF5 superblock).", remedy=_AGAIN
        )


@contextlib.contextmanager
def opened(path: Path, shown: str) -> Iterator[Any]:
    """Open a file for reading.

    Raises:
        ModelFileError: HDF5 cannot open it.
    """
    import h5py

    check_length(path, shown)
    try:
        file = h5py.File(path, "r")
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelFileError(f"{shown}: damaged HDF5 file: {error}.", remedy=_AGAIN) from error
    with file:
        yield file


def read_contents(group: Any, shown: str, size_bytes: int) -> Contents:
    """Walk an open h5py file or group; reads the values to look for NaN.

    Args:
        group: An h5py group.
        shown: How to call the file in messages.
        size_bytes: Size of the file, which bounds what it can hold.

    Raises:
        ModelFileError: Links or external storage, a dataset larger than the file, too many objects, damaged parts.
    """
    contents = Contents()
    try:
        for path, item in _walk(group, "", shown):
            if hasattr(item, "shape"):
                contents.tensors.append(_tensor(item, path, shown, size_bytes))
            elif isinstance(name := item.attrs.get("name"), str):
                contents.names[path] = name
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise ModelFileError(f"{shown}: damaged HDF5 data: {error}.", remedy=_AGAIN) from error
    return contents


def _walk(group: Any, prefix: str, shown: str) -> Iterator[tuple[str, Any]]:
    import h5py

    number = 0
    waiting: list[tuple[Any, str, int]] = [(group, prefix, 0)]
    seen: set[Any] = set()
    while waiting:
        current, base, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            raise ModelFileError(f"{shown}: {base!r} is nested too deeply.", remedy="do not use this file.")
        for key in current:
            if not isinstance(key, str):
                raise ModelFileError(f"{shown}: damaged: the name {key!r} is not UTF-8.", remedy=_AGAIN)
            path = f"{base}/{key}" if base else key
            number += 1
            if number > MAX_OBJECTS:
                raise ModelFileError(f"{shown}: more than {MAX_OBJECTS:,} objects.", remedy="do not use this file.")
            if not isinstance(current.get(key, getlink=True), h5py.HardLink):
                raise ModelFileError(
                    f"{shown}: {path!r} links to another place; weights must be in the file itself.",
                    remedy="do not use this file.",
                )
            item = current[key]
            if isinstance(item, h5py.Group):
                address = h5py.h5o.get_info(item.id).addr
                if address in seen:
                    continue
                seen.add(address)
                waiting.append((item, path, depth + 1))
            yield path, item


def _tensor(dataset: Any, path: str, shown: str, size_bytes: int) -> Tensor:
    if getattr(dataset, "external", None) or getattr(dataset, "is_virtual", False):
        raise ModelFileError(
            f"{shown}: the values of {path!r} are in another file; weights must be in the file itself.",
            remedy="do not use this file.",
        )
    if dataset.shape is None or not hasattr(dataset, "id"):
        return Tensor(path, 0, 0)
    count = math.prod(dataset.shape)
    bytes_ = count * dataset.dtype.itemsize
    stored = int(dataset.id.get_storage_size())
    if (dataset.chunks is None and stored > size_bytes) or bytes_ > stored * 1100 + 4096:
        raise ModelFileError(
            f"{shown}: {path!r} claims {bytes_:,} bytes (shape {tuple(dataset.shape)}), the file holds {stored:,} of "
            "them.",
            remedy=_AGAIN,
        )
    return Tensor(path, count, bytes_, _flaw(dataset, count))


def _flaw(dataset: Any, count: int) -> str:
    import numpy as np

    if dataset.dtype.kind != "f" or not count:
        return ""
    if dataset.ndim == 0:
        return _judge(np.asarray(dataset[()]))
    rows = max(1, _BLOCK // max(1, count // dataset.shape[0]))
    for start in range(0, dataset.shape[0], rows):
        if flaw := _judge(dataset[start : start + rows]):
            return flaw
    return ""


def _judge(values: Any) -> str:
    """``"NaN"``, ``"infinite values"`` or "" for an array of floats."""
    import numpy as np

    if np.isfinite(values).all():
        return ""
    return "NaN" if np.isnan(values).any() else "infinite values"

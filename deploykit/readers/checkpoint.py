"""Reads the index of a TensorFlow checkpoint, and looks for NaN in its values, without TensorFlow.

The index is a table of sorted keys in LevelDB's format (blocks of entries with shared prefixes, a footer with the
place of the block index); its values are BundleEntryProto messages (tensorflow/core/protobuf/tensor_bundle.proto).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploykit.core.errors import ModelFileError
from deploykit.readers.protobuf import WireError, fields
from deploykit.readers.snappy import decompress
from deploykit.readers.tensorflow import DTYPES, Shape, read_shape

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
_TRAILER = 5
_BLOCK = 1 << 24
#: How a block of the table is compressed.
_SNAPPY = 1
_AGAIN = "copy, download or export the model again."


@dataclass(frozen=True)
class BundleEntry:
    """A tensor of a checkpoint."""

    key: str
    dtype: str
    shape: Shape
    file: Path
    offset: int
    size: int


def read_entries(folder: Path, shown: str) -> list[BundleEntry]:
    """The tensors of the checkpoint ``variables`` in a folder, each checked to be inside its data file.

    Raises:
        ModelFileError: The index is damaged, or a data file is missing or truncated.
    """
    index = folder / "variables.index"
    if not index.is_file():
        raise ModelFileError(f"{shown}: variables/variables.index is missing.", remedy=_AGAIN)
    data = memoryview(index.read_bytes())
    try:
        pairs = list(_pairs(data))
        shards = next((_header(value) for key, value in pairs if not key), 1)
        entries = [_entry(key.decode("utf-8", "replace"), value, folder, shards) for key, value in pairs if key]
    except (WireError, struct.error, IndexError, ValueError) as error:
        raise ModelFileError(
            f"{shown}: variables/variables.index is truncated or damaged: {error}.", remedy=_AGAIN
        ) from error
    for entry in entries:
        _check_inside(entry, shown)
    return entries


def flaw(entry: BundleEntry) -> str:
    """``"NaN"``, ``"infinite values"`` or "" for the values of a tensor."""
    import numpy as np

    if entry.dtype not in ("float16", "float32", "float64"):
        return ""
    left = entry.size
    with entry.file.open("rb") as stream:
        stream.seek(entry.offset)
        while left > 0:
            block = stream.read(min(left, _BLOCK))
            left -= len(block) or left
            values = np.frombuffer(block, np.dtype(entry.dtype).newbyteorder("<"))
            if not np.isfinite(values).all():
                return "NaN" if np.isnan(values).any() else "infinite values"
    return ""


def values(entry: BundleEntry) -> Any:
    """The values of a floating-point tensor."""
    import numpy as np

    count = math.prod(d or 0 for d in entry.shape)
    kind = np.dtype(entry.dtype).newbyteorder("<")
    found = np.fromfile(entry.file, kind, count, offset=entry.offset)
    return found.reshape([d or 0 for d in entry.shape])


def _check_inside(entry: BundleEntry, shown: str) -> None:
    if not entry.file.is_file():
        raise ModelFileError(f"{shown}: variables/{entry.file.name} is missing.", remedy=_AGAIN)
    there = entry.file.stat().st_size
    if entry.offset + entry.size > there:
        raise ModelFileError(
            f"{shown}: variables/{entry.file.name} is truncated: it has {there:,} bytes, {entry.key!r} ends at "
            f"{entry.offset + entry.size:,}.",
            remedy=_AGAIN,
        )
    if entry.dtype in ("", "string"):
        return
    import numpy as np

    width = 2 if entry.dtype == "bfloat16" else np.dtype(entry.dtype).itemsize
    needed = math.prod(d or 0 for d in entry.shape) * width
    if needed != entry.size:
        raise ModelFileError(
            f"{shown}: {entry.key!r} of shape {entry.shape} needs {needed:,} bytes, the checkpoint has {entry.size:,}.",
            remedy=_AGAIN,
        )


def _pairs(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Keys and values of the table."""
    if len(data) < _FOOTER:
        raise ValueError(f"{len(data)} bytes are less than a footer")
    footer = data[-_FOOTER:]
    if struct.unpack_from("<Q", footer, _FOOTER - 8)[0] != _MAGIC:
        raise ValueError("the footer is missing")
    _, at = _handle(footer, 0)
    where, _ = _handle(footer, at)
    for _, value in _block(data, where):
        place, _ = _handle(value, 0)
        yield from _block(data, place)


def _block(data: memoryview, where: tuple[int, int]) -> Iterator[tuple[bytes, memoryview]]:
    offset, size = where
    if offset + size + _TRAILER > len(data):
        raise ValueError(f"a block ends at byte {offset + size:,}, there are {len(data):,}")
    block = data[offset : offset + size]
    if (kind := data[offset + size]) == _SNAPPY:
        block = memoryview(decompress(block))
    elif kind != 0:
        raise ValueError(f"a block is compressed in an unknown way ({kind})")
    (restarts,) = struct.unpack_from("<I", block, len(block) - 4)
    end = len(block) - 4 - 4 * restarts
    at, key = 0, b""
    while at < end:
        shared, at = _number(block, at)
        fresh, at = _number(block, at)
        length, at = _number(block, at)
        if shared > len(key) or at + fresh + length > end:
            raise ValueError("an entry leaves its block")
        key = key[:shared] + bytes(block[at : at + fresh])
        at += fresh
        yield key, block[at : at + length]
        at += length


def _handle(data: memoryview, at: int) -> tuple[tuple[int, int], int]:
    offset, at = _number(data, at)
    size, at = _number(data, at)
    return (offset, size), at


def _number(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _header(value: memoryview) -> int:
    shards = 1
    for number, _, given in fields(value):
        if number == 1 and isinstance(given, int):
            shards = given
    return shards


def _entry(key: str, value: memoryview, folder: Path, shards: int) -> BundleEntry:
    found = {1: 0, 3: 0, 4: 0, 5: 0}
    shape: Shape = ()
    for number, _, given in fields(value):
        if number == 2 and isinstance(given, memoryview):
            shape = read_shape(given) or ()
        elif number in found and isinstance(given, int):
            found[number] = given
    file = folder / f"variables.data-{found[3]:05d}-of-{shards:05d}"
    return BundleEntry(key, DTYPES.get(found[1], ""), shape, file, found[4], found[5])

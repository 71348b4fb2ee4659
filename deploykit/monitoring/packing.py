"""Small binary files of named numbers: a JSON head and arrays of known sizes, read within bounds.

``MAGIC``, the head's compressed length, the head (JSON, deflated), the arrays one behind the other, and a checksum.
The head lists name, type and shape of each array, so that what follows must have exactly that many bytes.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DeploykitError
from deploykit.core.serial import dump, parse

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAD = struct.Struct("<4sI")
_TAIL = struct.Struct("<I")
_MOST_HEAD_BYTES = 256 << 10
_TYPES = {"u1", "<u2", "<f4", "<f8", "<i8"}
_MOST_AXES = 4


def pack(magic: bytes, head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of a head and its arrays.

    Args:
        magic: Four bytes that say what it is.
        head: Plain data.
        arrays: By name; their types must be among ``u1 <u2 <f4 <f8 <i8``.
    """
    import numpy as np

    listed = [[name, array.dtype.str.replace("|", ""), list(array.shape)] for name, array in arrays.items()]
    assert all(kind in _TYPES for _, kind, _ in listed), listed
    text = zlib.compress(dump({"head": head, "arrays": listed}), 9)
    body = b"".join([_LEAD.pack(magic, len(text)), text, *(np.ascontiguousarray(a).tobytes() for a in arrays.values())])
    return body + _TAIL.pack(zlib.crc32(body))


def unpack(
    magic: bytes, data: bytes, limit_bytes: int, what: str, error: type[DeploykitError], remedy: str
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The head and the arrays of what `pack` has made; no byte is trusted.

    Args:
        magic: As given to `pack`.
        data: The bytes.
        limit_bytes: Most bytes it may have.
        what: What it is read as, for messages: ``"the profile"``.
        error: What is raised.
        remedy: What to do about bytes that cannot be read.

    Raises:
        DeploykitError: Of type ``error``: too many bytes, other bytes than `pack` makes, or numbers that are not
            finite.
    """
    import numpy as np

    def refused(why: str) -> DeploykitError:
        return error(f"Cannot read {what}: {why}.", remedy=remedy)

    if len(data) > limit_bytes:
        raise refused(f"it has {len(data):,} bytes, more than the limit of {limit_bytes:,}")
    if len(data) < _LEAD.size + _TAIL.size:
        raise refused(f"it has only {len(data)} bytes")
    found, length = _LEAD.unpack_from(data)
    if found != magic:
        raise refused(f"it begins with {found!r} instead of {magic!r}")
    (checksum,) = _TAIL.unpack_from(data, len(data) - _TAIL.size)
    if zlib.crc32(data[: -_TAIL.size]) != checksum:
        raise refused("its checksum is wrong, so it is damaged or cut off")
    start = _LEAD.size + length
    if start > len(data) - _TAIL.size:
        raise refused("its head is longer than the file")
    try:
        inflater = zlib.decompressobj()
        text = inflater.decompress(data[_LEAD.size : start], _MOST_HEAD_BYTES)
        if inflater.unconsumed_tail or not inflater.eof:
            raise refused(f"its head has more than {_MOST_HEAD_BYTES:,} bytes, or is cut off")
        plain = parse(text)
    except (zlib.error, ValueError) as failure:
        raise refused(f"its head is not JSON ({failure})") from failure
    head, listed = _parts(plain, refused)
    arrays: dict[str, NDArray[Any]] = {}
    for name, kind, shape in listed:
        size = math.prod(shape) * np.dtype(kind).itemsize
        if size > len(data) - _TAIL.size - start:
            raise refused(f"{name!r} needs {size:,} bytes, which are not there")
        arrays[name] = np.frombuffer(data, kind, math.prod(shape), start).reshape(shape)
        if arrays[name].dtype.kind == "f" and not np.isfinite(arrays[name]).all():
            raise refused(f"{name!r} holds numbers that are not finite")
        start += size
    if start != len(data) - _TAIL.size:
        raise refused(f"{len(data) - _TAIL.size - start} bytes are left over")
    return head, arrays


def _parts(plain: Any, refused: Any) -> tuple[dict[str, Any], list[tuple[str, str, tuple[int, ...]]]]:
    head, listed = (plain.get("head"), plain.get("arrays")) if isinstance(plain, dict) else (None, None)
    if not isinstance(head, dict) or not isinstance(listed, list):
        raise refused("its head has no list of arrays")
    found = []
    for entry in listed:
        if not (isinstance(entry, list) and len(entry) == 3 and isinstance(entry[0], str) and entry[1] in _TYPES):
            raise refused(f"its head lists {str(entry)[:60]!r} as an array")
        name, kind, shape = entry
        sizes = shape if isinstance(shape, list) and len(shape) <= _MOST_AXES else [-1]
        if not all(isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 1 << 31 for size in sizes):
            raise refused(f"{name[:60]!r} has the shape {str(shape)[:60]}")
        found.append((name, kind, tuple(sizes)))
    if len({name for name, _, _ in found}) != len(found):
        raise refused("its head lists an array twice")
    return head, found

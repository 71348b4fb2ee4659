"""Decompresses Snappy's blocks. Source: Snappy's compressed format description (google/snappy, format_description.txt).

The blocks of a checkpoint's index are the only ones that are read: a library for a few kilobytes would be one more for
every installation.
"""

from __future__ import annotations

_MOST_BYTES = 1 << 30


def decompress(data: memoryview) -> bytes:
    """The content of a block.

    Raises:
        ValueError: It is damaged, or claims more than a gigabyte.
    """
    size, at = _length(data)
    found = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        if tag & 3 == 0:
            count, at = _literal(data, tag >> 2, at)
            if at + count > len(data):
                raise ValueError("compressed bytes are missing")
            found += data[at : at + count]
            at += count
        else:
            count, back, at = _copy(data, tag, at)
            if not 0 < back <= len(found):
                raise ValueError("a copy begins before its block")
            _repeat(found, count, back)
        if len(found) > size:
            break
    if len(found) != size:
        raise ValueError(f"{len(found):,} bytes were compressed, not {size:,}")
    return bytes(found)


def _length(data: memoryview) -> tuple[int, int]:
    """How long the content is, and where its elements begin."""
    size = 0
    for at in range(min(5, len(data))):
        size |= (data[at] & 0x7F) << 7 * at
        if data[at] < 0x80:
            if size > _MOST_BYTES:
                break
            return size, at + 1
    raise ValueError("the compressed length is damaged")


def _literal(data: memoryview, length: int, at: int) -> tuple[int, int]:
    """How many bytes stand as they are, and where."""
    if length < 60:
        return length + 1, at
    width = length - 59
    return int.from_bytes(data[at : at + width], "little") + 1, at + width


def _copy(data: memoryview, tag: int, at: int) -> tuple[int, int, int]:
    """How many bytes are repeated, from how far back, and where the next element is."""
    if tag & 3 == 1:
        if at >= len(data):
            raise ValueError("compressed bytes are missing")
        return (tag >> 2 & 7) + 4, (tag & 0xE0) << 3 | data[at], at + 1
    width = 2 if tag & 3 == 2 else 4
    return (tag >> 2) + 1, int.from_bytes(data[at : at + width], "little"), at + width


def _repeat(found: bytearray, count: int, back: int) -> None:
    """Append what is so far back, again and again where that is less than is wanted."""
    start = len(found) - back
    if count <= back:
        found += found[start : start + count]
        return
    part = bytes(found[start:])
    found += (part * (count // back + 1))[:count]

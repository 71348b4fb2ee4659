"""Walks a FlatBuffers file with every offset checked, so that a truncated file is found before native code reads it."""

from __future__ import annotations

import struct
from collections.abc import Iterator


class FlatbufferError(ValueError):
    """An offset leaves the file."""


class Table:
    """One table of a FlatBuffers file.

    Args:
        data: The whole file.
        at: Position of the table.
    """

    def __init__(self, data: memoryview, at: int) -> None:
        self._data = data
        self._at = at
        self._vtable = at - _unpack(data, "<i", at)
        self._fields = (_unpack(data, "<H", self._vtable) - 4) // 2
        end = at + _unpack(data, "<H", self._vtable + 2)
        if end > len(data):
            raise FlatbufferError(f"a table ends at byte {end:,}, the file has {len(data):,}")

    @classmethod
    def root(cls, data: memoryview) -> Table:
        """The root table."""
        return cls(data, _unpack(data, "<I", 0))

    def number(self, field: int, kind: str, default: int = 0) -> int:
        """A scalar field; ``kind`` is a `struct` code."""
        at = self._field(field)
        return _unpack(self._data, f"<{kind}", at) if at else default

    def span(self, field: int, width: int) -> tuple[int, int] | None:
        """Start and length (in items of ``width`` bytes) of a vector field, None when it is absent."""
        at = self._field(field)
        if not at:
            return None
        start = at + _unpack(self._data, "<I", at)
        length = _unpack(self._data, "<I", start)
        end = start + 4 + length * width
        if end > len(self._data):
            raise FlatbufferError(f"a part of it ends at byte {end:,}, the file has {len(self._data):,}")
        return start + 4, length

    def numbers(self, field: int, kind: str) -> tuple[int, ...]:
        """A vector of scalars."""
        found = self.span(field, struct.calcsize(kind))
        if found is None:
            return ()
        return struct.unpack_from(f"<{found[1]}{kind}", self._data, found[0])

    def text(self, field: int) -> str:
        """A string field."""
        found = self.span(field, 1)
        return "" if found is None else bytes(self._data[found[0] : sum(found)]).decode("utf-8", "replace")

    def tables(self, field: int) -> Iterator[Table]:
        """A vector of tables."""
        found = self.span(field, 4)
        if found is not None:
            for at in range(found[0], found[0] + 4 * found[1], 4):
                yield Table(self._data, at + _unpack(self._data, "<I", at))

    def _field(self, field: int) -> int:
        if field >= self._fields:
            return 0
        offset = _unpack(self._data, "<H", self._vtable + 4 + 2 * field)
        return self._at + offset if offset else 0


def _unpack(data: memoryview, kind: str, at: int) -> int:
    size = struct.calcsize(kind)
    if at < 0 or at + size > len(data):
        raise FlatbufferError(f"it refers to byte {at + size:,}, the file has {len(data):,}")
    value: int = struct.unpack_from(kind, data, at)[0]
    return value

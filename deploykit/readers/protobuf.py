"""Reads protobuf's wire format without a schema: enough to tell a format, to find a truncation, to scan a graph.

Every occurrence of a field is given, as parsers merge repeated ones; anything odd is an error, so that nothing can
hide from a scan.
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class WireError(ValueError):
    """The bytes are not a protobuf message.

    Args:
        message: What is wrong.
        needs: Bytes the message would need to be whole, 0 when it is not a matter of length.
        field: Number of the field that is cut off.
    """

    def __init__(self, message: str, needs: int = 0, field: int = 0) -> None:
        super().__init__(message)
        self.needs = needs
        self.field = field


def fields(data: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """The fields of a message: number, wire type, value (a number, or the bytes of a length-delimited field).

    Raises:
        WireError: Truncated or malformed.
    """
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise WireError("field number 0")
        if wire == VARINT:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        if wire == BYTES:
            length, at = _varint(data, at)
        elif wire in (FIXED64, FIXED32):
            length = 8 if wire == FIXED64 else 4
        else:
            raise WireError(f"wire type {wire} in field {number}")
        if at + length > end:
            raise WireError(f"field {number} ends after {at + length:,} bytes, there are {end:,}", at + length, number)
        yield number, wire, data[at : at + length]
        at += length


def signed(value: int) -> int:
    """An int64 from its varint."""
    return value - (1 << 64) if value >= 1 << 63 else value


def text(value: int | memoryview) -> str:
    """A string field."""
    return bytes(value).decode("utf-8", "replace") if isinstance(value, memoryview) else str(value)


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    end = len(data)
    while True:
        if at >= end:
            raise WireError(f"a number is cut off after {end:,} bytes", end + 1)
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 1 << 64:
                raise WireError("a number of more than 64 bits")
            return value, at
        shift += 7
        if shift > 63:
            raise WireError("a number of more than 64 bits")

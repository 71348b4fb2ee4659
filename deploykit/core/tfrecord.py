"""TFRecord files: warm-up requests of TensorFlow Serving, events of TensorBoard.

Framing: tensorflow/core/lib/io/record_writer.cc.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import cache


def tfrecord(messages: Iterable[bytes]) -> bytes:
    """TFRecord framing: length, its masked CRC-32C, data, their masked CRC-32C."""
    parts = []
    for message in messages:
        length = struct.pack("<Q", len(message))
        parts += [length, _masked(length), message, _masked(message)]
    return b"".join(parts)


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), reflected polynomial 0x82F63B78."""
    table = _table()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


@cache
def _table() -> tuple[int, ...]:
    rows = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        rows.append(value)
    return tuple(rows)


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)

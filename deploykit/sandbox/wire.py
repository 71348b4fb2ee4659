"""Framed JSON between the driver and a child. The driver never unpickles what a child says."""

from __future__ import annotations

import contextlib
import struct
import threading
from typing import Any, BinaryIO

from deploykit.core.serial import dump, parse

_HEADER = struct.Struct("<I")
_LIMIT = 256 << 20


def encode(message: Any) -> bytes:
    """A message as it is sent."""
    data = dump(message)
    return _HEADER.pack(len(data)) + data


class Wire:
    """Two byte streams that carry length-prefixed JSON messages. Sending is thread-safe; one thread may receive."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self._reader = reader
        self._writer = writer
        self._lock = threading.Lock()

    def send(self, message: Any) -> None:
        """Send one message.

        Raises:
            OSError: The other side is gone.
        """
        self.write(encode(message))

    def write(self, data: bytes) -> None:
        """Send a message that was encoded before.

        Raises:
            OSError: The other side is gone.
        """
        with self._lock:
            self._writer.write(data)
            self._writer.flush()

    def receive(self) -> Any:
        """The next message.

        Raises:
            EOFError: The other side is gone, or sent something that is not a message.
        """
        try:
            header = self._reader.read(_HEADER.size)
            if len(header) < _HEADER.size:
                raise EOFError
            (length,) = _HEADER.unpack(header)
            if length > _LIMIT:
                raise EOFError
            data = self._reader.read(length)
        except (OSError, ValueError) as error:
            raise EOFError from error
        if len(data) < length:
            raise EOFError
        try:
            return parse(data)
        except ValueError as error:
            raise EOFError from error

    def close(self) -> None:
        """Close both directions."""
        for stream in (self._writer, self._reader):
            with contextlib.suppress(OSError):
                stream.close()

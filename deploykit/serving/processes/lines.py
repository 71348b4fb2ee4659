"""What a server's parent and its workers say to each other: lines of JSON over pipes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import IO, Any

from deploykit.core.serial import dump, parse


def say(stream: IO[bytes], message: Mapping[str, Any]) -> None:
    """Write a line; the end of the other side is noticed by those who listen to it."""
    line = dump(message) + b"\n"
    with contextlib.suppress(OSError, ValueError):  # it has ended, or the stream is closed
        stream.write(line)
        stream.flush()


def lines_of(stream: IO[bytes]) -> Iterator[Any]:
    """Lines of the other side, until it ends or the stream is closed."""
    while True:
        try:
            line = stream.readline()
        except (OSError, ValueError):  # closed here meanwhile
            return
        if not line:
            return
        yield parse(line)

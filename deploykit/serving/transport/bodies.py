"""Bodies of HTTP requests: chunks put together, and what is packed unpacked no further than the limit."""

from __future__ import annotations

import re
import zlib

from deploykit.serving.faults import InvalidInputError, TooLargeError

#: Longest line that gives a chunk's size, and trailers in all; of at most eight digits.
_LINE_BYTES, _TRAILER_BYTES = 1024, 8192
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
#: So many chunks may be smaller than this on average, bytes.
_MANY, _SMALL = 10_000, 64
#: So much is unpacked at once; the rest of a larger body is unpacked in a thread.
QUICK_BYTES = 1 << 20
#: Codings of packed bodies (RFC 9110, 8.4.1), as the sizes of windows that stand for them in zlib.
CODINGS = {b"gzip": 31, b"deflate": 15}


class Chunks:
    """Puts a body together that comes in chunks (RFC 9112, 7.1).

    Args:
        limit: Largest body, bytes.

    Attributes:
        done: Whether the body is complete.
        size: Bytes of the body so far.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()
        self._count = 0
        self._line = b""
        self._left = 0
        self._trailers = -1
        self.done = False
        self.size = 0

    def feed(self, data: bytes) -> bytes:
        """Take what has come; returns what is behind the body.

        Raises:
            InvalidInputError: These are not chunks.
            TooLargeError: They are more than the limit.
        """
        at = 0
        while at < len(data) and not self.done:
            if self._left > 2:
                part = data[at : at + self._left - 2]
                self._data += part
                self._left -= len(part)
                at += len(part)
                continue
            if self._left:  # the line break behind a chunk
                if data[at] != b"\r\n"[2 - self._left]:
                    raise _malformed("a chunk is not as long as it says")
                self._left -= 1
                at += 1
                continue
            at = self._take_line(data, at)
        return data[at:]

    def body(self) -> bytes:
        """The body."""
        return bytes(self._data)

    def _take_line(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at)
        part = data[at:] if end < 0 else data[at : end + 1]
        self._line += part
        if len(self._line) > _LINE_BYTES:
            raise _malformed(f"a line of more than {_LINE_BYTES:,} bytes")
        if end >= 0:
            line, self._line = self._line, b""
            if not line.endswith(b"\r\n"):
                raise _malformed("lines end in CR LF")
            self._end_line(line[:-2])
        return at + len(part)

    def _end_line(self, line: bytes) -> None:
        if self._trailers >= 0:
            self._trailers += len(line)
            if self._trailers > _TRAILER_BYTES:
                raise _malformed(f"trailers of more than {_TRAILER_BYTES:,} bytes")
            self.done = not line
            return
        match = _SIZE.fullmatch(line)
        if match is None:
            raise _malformed(f"{line[:40].decode('latin-1')!r} is not the size of a chunk")
        size = int(match[1], 16)
        if not size:
            self._trailers = 0
            return
        self.size += size
        self._left = size + 2
        self._count += 1
        if self._count > _MANY and self.size < self._count * _SMALL:  # each costs more than it carries
            raise _malformed(f"{self._count:,} chunks for {self.size:,} bytes; send larger ones")
        if self.size > self._limit:
            raise TooLargeError("more than that", self._limit, close=True)


class Unpacker:
    """Unpacks a body.

    Args:
        data: The packed body.
        coding: How it is packed: a key of `CODINGS`.
        limit: Most bytes to unpack: 200 MiB of zeros travel as 204 kB.
    """

    def __init__(self, data: bytes, coding: bytes, limit: int) -> None:
        self._packed = data
        self._coding = coding.decode()
        self._limit = limit
        self._unpacker = zlib.decompressobj(CODINGS[coding])
        self._parts: list[bytes] = []

    def run(self, most: int) -> bool:
        """Unpack up to so many bytes; whether that was all.

        Raises:
            InvalidInputError: It is not one complete stream.
        """
        try:
            self._parts.append(self._unpacker.decompress(self._packed, most))
        except zlib.error as error:
            raise InvalidInputError(f"The body is not {self._coding}: {error}.") from error
        self._packed = self._unpacker.unconsumed_tail
        return self._unpacker.eof or not (self._packed or len(self._parts[-1]) == most)

    def rest(self) -> bytes:
        """Unpack the rest, and return everything.

        Raises:
            InvalidInputError: It is not one complete stream.
            TooLargeError: It is more than the limit.
        """
        if not self._unpacker.eof:
            self.run(self._limit + 1 - sum(map(len, self._parts)))
        found = b"".join(self._parts)
        if len(found) > self._limit:
            raise TooLargeError("more than that after decompression", self._limit, close=False)
        if not self._unpacker.eof:
            raise InvalidInputError(f"The {self._coding} body is cut off.")
        if extra := len(self._unpacker.unused_data):
            raise InvalidInputError(f"Expected one {self._coding} stream, got {extra} bytes behind it.")
        return found


def _malformed(reason: str) -> InvalidInputError:
    return InvalidInputError(f"Expected a body in chunks: {reason}.")

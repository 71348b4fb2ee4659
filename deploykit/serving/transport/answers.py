"""How an answer begins."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploykit.serving.transport.heads import Head
    from deploykit.serving.wires._contract import Response

_REASONS = {status.value: status.phrase for status in HTTPStatus}
#: Starts of answers by status and content type: few, as protocols write few.
_starts: dict[tuple[int, bytes], bytes] = {}


def start_of(head: Head | None, response: Response, *, close: bool) -> bytes:
    """What comes before the body of an answer.

    Args:
        head: The request; None if not even its head could be read.
        response: The answer.
        close: Whether the connection ends with it.
    """
    status, body, kind, headers = response
    start = _starts.get((status, kind))
    if start is None:
        start = b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: " % (
            status, _REASONS.get(status, "").encode(), kind,
        )  # fmt: skip
        if len(_starts) < 256:
            _starts[status, kind] = start
    more = b"".join(b"%b: %b\r\n" % pair for pair in headers) if headers else b""
    if close:
        more += b"connection: close\r\n"
    elif head is not None and head.old:
        more += b"connection: keep-alive\r\n"
    return b"%b%d\r\n%b\r\n" % (start, len(body), more)

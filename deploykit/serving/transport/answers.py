"""How an answer begins."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from deploykit.serving.records.entry import ID_HEADER

if TYPE_CHECKING:
    from deploykit.serving.transport.heads import Head
    from deploykit.serving.wires._contract import Response

_REASONS = {status.value: status.phrase for status in HTTPStatus}
#: Answers up to their length, and from there to their body: few, as protocols write few.
_known: dict[tuple[object, ...], tuple[bytes, bytes]] = {}
_MOST_KNOWN = 256
_ID = ID_HEADER.encode()


def start_of(head: Head | None, response: Response, *, close: bool) -> bytes:
    """What comes before the body of an answer.

    Args:
        head: The request; None if not even its head could be read.
        response: The answer.
        close: Whether the connection ends with it.
    """
    status, body, kind, headers = response
    old = head is not None and head.old
    mark = b""
    if headers and headers[-1][0] == _ID:  # does not come again
        mark, headers = b"x-request-id: %b\r\n" % headers[-1][1], headers[:-1]
    known = _known.get((status, kind, headers, close, old))
    if known is None:
        reason = _REASONS.get(status, "").encode()
        more = b"".join(b"%b: %b\r\n" % pair for pair in headers)
        if close:
            more += b"connection: close\r\n"
        elif old:
            more += b"connection: keep-alive\r\n"
        known = (
            b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: " % (status, reason, kind),
            b"%b\r\n" % more,
        )
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[status, kind, headers, close, old] = known
    return b"%b%d\r\n%b%b" % (known[0], len(body), mark, known[1])

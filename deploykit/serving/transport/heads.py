"""Heads of HTTP requests: parsed strictly by llhttp, and refused where two servers could read them differently.

Source: RFC 9110 and RFC 9112. A request whose end is not beyond doubt is refused: that is how requests are smuggled
past a proxy.
"""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from deploykit.serving.faults import Fault, InvalidInputError
from deploykit.serving.records.entry import ID_HEADER, sane_id, sane_trace

#: Clients repeat their heads: these many are remembered, up to so many bytes each.
_KNOWN, _KNOWN_BYTES = 512, 2048
_METHODS = tuple(
    method.encode() for method in ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT")
)
_LOCAL = ("localhost",)
_ID, _TRACE = ID_HEADER.encode(), b"traceparent"
_MARKS = frozenset((_ID, _TRACE))
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:/?#@\[\]\s]+))(?::[0-9]*)?")


class HeadSizeError(Fault):
    """The head of a request is larger than the limit."""

    kind = "head"


class HostError(Fault):
    """The request is for another host."""

    kind = "host"


class ExpectationError(Fault):
    """The client expects what the server does not do."""

    kind = "expectation"


class VersionError(Fault):
    """A version of HTTP that the server does not speak."""

    kind = "version"


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request.

    Attributes:
        method: Its method.
        path: Its path, without the query, percent-decoded.
        headers: Its headers, names in lower case.
        length: Size of the body; None when it comes in chunks.
        keep_alive: Whether the client keeps the connection.
        waits: Whether the client waits for "100 Continue" before it sends the body.
        old: Whether it speaks HTTP/1.0, where a kept connection must be confirmed.
        encoding: Content-Encoding of the body, b"" without one.
        request_id: The id that the client gives it, b"" without one.
        trace: The client's ``traceparent``, b"" without one.
    """

    method: str
    path: str
    headers: list[tuple[bytes, bytes]]
    length: int | None
    keep_alive: bool
    waits: bool
    old: bool
    encoding: bytes
    request_id: bytes
    trace: bytes


class Heads:
    """Parses heads. Belongs to one thread.

    Args:
        limit: Largest head, bytes.
        fields: Most header fields.
        hosts: Names that requests may ask for, beside addresses and localhost; empty: any.
    """

    def __init__(self, limit: int, fields: int, hosts: Collection[str] = ()) -> None:
        self.limit = limit
        self._fields = fields
        self._hosts = frozenset(h.lower().rstrip(".") for h in (*hosts, *_LOCAL)) if hosts else None
        self._known: dict[bytes, Head] = {}

    def parse(self, data: bytes) -> Head:
        """The head that ``data`` is, without its last line break and the empty line.

        Raises:
            Fault: It is malformed, too large, ambiguous, or asks for another host.
        """
        known = self._known.get(data)
        if known is not None:
            return known
        found = self._parse(data)
        if len(data) <= _KNOWN_BYTES and not (found.request_id or found.trace):  # these do not come again
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[data] = found
        return found

    def check_start(self, data: bytes) -> None:
        """Raise a `Fault` if this cannot become a head, instead of waiting for the rest of it.

        Args:
            data: The first bytes of a head, without the empty line that ends it.
        """
        if len(data) > self.limit:
            raise self.too_large(len(data))
        word = data[:8]
        if not any(m.startswith(word) or word.startswith(m) for m in _METHODS):
            raise _malformed("it does not begin with a method")
        if data.count(b"\n") != data.count(b"\r\n"):
            raise _malformed("lines end in CR LF")

    def too_large(self, size: int) -> HeadSizeError:
        """The error of a head that is too large."""
        return HeadSizeError(f"Expected a request head of at most {self.limit:,} bytes, got {size:,}; send less in it.")

    def _parse(self, data: bytes) -> Head:
        import httptools

        if len(data) > self.limit:
            raise self.too_large(len(data))
        seen = _Seen()
        seen.parser = parser = httptools.HttpRequestParser(seen)
        try:
            parser.feed_data(data + b"\r\n\r\n")
        except httptools.HttpParserUpgrade:  # declined, by an answer in HTTP/1.1
            pass
        except httptools.HttpParserError as error:
            raise _malformed(str(error)) from error
        version = parser.get_http_version()
        if not seen.complete or version not in ("1.0", "1.1"):
            raise VersionError(f"Expected HTTP/1.1 or HTTP/1.0, got HTTP/{version}.")
        if len(seen.headers) > self._fields:
            raise HeadSizeError(f"Expected at most {self._fields} header fields, got {len(seen.headers)}; send fewer.")
        old = version == "1.0"
        self._check_host(seen, old=old)
        length, expects = _framing(seen, old=old)
        if expects and (old or expects.lower() != b"100-continue"):
            raise ExpectationError(f"Expected Expect: 100-continue or none, got {expects.decode('latin-1')!r}.")
        method = parser.get_method().decode("ascii")
        marks = {name: value for name, value in seen.headers if name in _MARKS}
        return Head(
            method=method,
            path=_path(seen.url),
            headers=seen.headers,
            length=length,
            keep_alive=seen.keep_alive and method != "CONNECT",
            waits=bool(expects),
            old=old,
            encoding=seen.only(b"content-encoding").lower(),
            request_id=sane_id(marks[_ID].strip()) if _ID in marks else b"",
            trace=sane_trace(marks[_TRACE].strip()) if _TRACE in marks else b"",
        )

    def _check_host(self, seen: _Seen, *, old: bool) -> None:
        """One host, and one that this server answers for: a page of another site cannot ask for it by its own name."""
        given = [value for name, value in seen.headers if name == b"host"]
        if len(given) > 1 or not (given or old):
            raise _malformed(f"expected one Host header, got {len(given) or 'none'}")
        if self._hosts is None or not given:
            return
        text = given[0].decode("latin-1")
        name = _host_name(text)
        if name not in self._hosts and not _is_address(name):
            raise HostError(
                f"Expected Host to be an address or {', '.join(sorted(self._hosts))}; got {text[:100]!r}; "
                "the server takes other names that it is started with (hosts=, --allow-host)."
            )


class _Seen:
    """What the parser finds."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False
        self.keep_alive = False
        self.parser: Any = None

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete = True
        self.keep_alive = self.parser.should_keep_alive()  # known only now: a request without a body is over at once

    def only(self, name: bytes) -> bytes:
        """The value of a header that may come once, b"" without it."""
        found = [value.strip() for given, value in self.headers if given == name]
        if len(found) > 1:
            raise _malformed(f"expected {name.decode()} once, got it {len(found)} times")
        return found[0] if found else b""


def _framing(seen: _Seen, *, old: bool) -> tuple[int | None, bytes]:
    """The body's size, None for chunks, and what the client expects."""
    length, coding = seen.only(b"content-length"), seen.only(b"transfer-encoding")
    if coding:
        if length or old or coding.lower() != b"chunked":
            raise _malformed("expected Transfer-Encoding chunked, in HTTP/1.1 and without Content-Length")
        return None, seen.only(b"expect")
    if length and not (length.isdigit() and len(length) <= 19):
        raise _malformed("expected Content-Length to be a number")
    return int(length or 0), seen.only(b"expect")


def _path(url: bytes) -> str:
    import httptools

    try:
        path = httptools.parse_url(url).path or b"/"
    except httptools.HttpParserInvalidURLError:
        path = url  # "*", or an authority: no route has it
    return urllib.parse.unquote(path.decode("ascii", "replace"))


def _host_name(text: str) -> str:
    """The host of "host:port", in lower case; "" if it is not that."""
    match = _HOST.fullmatch(text.strip().lower())
    return "" if match is None else (match[1] or match[2].rstrip("."))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _malformed(reason: str) -> InvalidInputError:
    return InvalidInputError(f"Expected an HTTP request: {reason[:200].rstrip('.')}.")

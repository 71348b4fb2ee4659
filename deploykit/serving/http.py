"""HTTP for the protocols that use it: bodies, methods and faults of the server, as a bare ASGI application.

No framework stands in the way: parsing the body is the bill, and the rest of a request takes a few microseconds. Paths
belong to the protocols in `deploykit.serving.wires`; they match without regard to case, as TensorFlow Serving's do, and
model names are compared exactly.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from deploykit.serving.faults import (
    DeadlineError,
    Fault,
    InternalError,
    InvalidInputError,
    NotFoundError,
    TooLargeError,
)
from deploykit.serving.service import ServerLimits, Service
from deploykit.serving.wires._contract import WIRES, Endpoint, Headers, HTTPWire, Response, refusal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

#: A body whose length is known to be beyond this is not even read away: the connection is closed.
_DRAIN_BYTES = 1 << 30
_KNOWN_PATHS = 256

_log = logging.getLogger("deploykit.serving")


class MethodError(Fault):
    """The route exists, with another method.

    Args:
        got: The request's method.
        allowed: The route's method.
    """

    kind = "method"

    def __init__(self, got: str, allowed: str) -> None:
        super().__init__(f"Method {got} is not allowed here; use {allowed}.")
        self.allowed = allowed


class EncodingError(Fault):
    """The body's Content-Encoding is not understood."""

    kind = "encoding"


class App:
    """The ASGI application of a service.

    Args:
        service: What it serves.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._wires = tuple(wire for wire in WIRES.all() if isinstance(wire, HTTPWire))
        self._known: dict[str, tuple[HTTPWire, Endpoint]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = 0.0
        path, got = scope["path"], scope["method"]
        wire: HTTPWire | None = None
        try:
            known = self._known.get(path)
            if known is None:
                wire = self._wire(path)
                known = self._find(wire, path)
            wire, (method, handler) = known
            if got != method and not (got == "HEAD" and method == "GET"):
                raise MethodError(got, method)
            headers = scope["headers"]
            body = await _body(headers, receive, self._service.limits) if method == "POST" else b""
            began = time.perf_counter() if method == "POST" else 0.0
            response = await handler(body, headers)
        except Fault as fault:
            response = _with_headers(_refusal(wire, fault), fault)
        except Exception:
            _log.exception("request to %r failed", path)
            response = _refusal(wire, InternalError())
        if got == "POST":
            if response.status == 200:
                self._service.answered(time.perf_counter() - began)
            else:
                self._service.refused()
        length = str(len(response.body)).encode()
        head = [(b"content-type", response.kind), (b"content-length", length), *response.headers]
        await send({"type": "http.response.start", "status": response.status, "headers": head})
        await send({"type": "http.response.body", "body": response.body})

    def _wire(self, path: str) -> HTTPWire:
        """The protocol whose paths begin like this one."""
        lower = path.lower()
        for wire in self._wires:
            if lower.startswith(wire.prefix):
                return wire
        raise self._unknown(path)

    def _find(self, wire: HTTPWire, path: str) -> tuple[HTTPWire, Endpoint]:
        endpoint = wire.endpoint(path, self._service)
        if endpoint is None:
            raise self._unknown(path)
        if len(self._known) < _KNOWN_PATHS:
            self._known[path] = wire, endpoint
        return wire, endpoint

    def _unknown(self, path: str) -> NotFoundError:
        there = " and ".join(wire.example(name) for name in self._service.names for wire in self._wires)
        return NotFoundError(f"No such route: {path[:200]}; there are {there}.")


def _refusal(wire: HTTPWire | None, fault: Fault) -> Response:
    return refusal(fault) if wire is None else wire.refusal(fault)


def _with_headers(response: Response, fault: Fault) -> Response:
    if isinstance(fault, MethodError):
        return response._replace(headers=(*response.headers, (b"allow", fault.allowed.encode())))
    if isinstance(fault, DeadlineError) or (isinstance(fault, TooLargeError) and fault.close):
        return response._replace(headers=(*response.headers, (b"connection", b"close")))
    return response


async def _body(headers: Headers, receive: Receive, limits: ServerLimits) -> bytes:
    """The request's body, decompressed.

    Raises:
        Fault: Too large, too slow, or of an unknown encoding.
    """
    encoding = b""
    for name, value in headers:
        if name == b"content-length" and int(value) > limits.request_bytes:
            raise TooLargeError(f"{int(value):,}", limits.request_bytes, close=int(value) > _DRAIN_BYTES)
        if name == b"content-encoding":
            encoding = value.strip().lower()
    if encoding not in (b"", b"identity", b"gzip"):
        shown = encoding.decode("latin-1")
        raise EncodingError(f"Expected Content-Encoding gzip or none, got {shown!r}.")
    message = await receive()
    data: bytes = message.get("body", b"")
    if message.get("more_body"):
        try:
            async with asyncio.timeout(limits.request_seconds):
                data = await _rest(data, receive, limits.request_bytes)
        except TimeoutError:
            raise DeadlineError(f"The body did not arrive within {limits.request_seconds:g} s.") from None
    return _unzip(data, limits.request_bytes) if encoding == b"gzip" else data


async def _rest(first: bytes, receive: Receive, limit: int) -> bytes:
    data = bytearray(first)
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidInputError("The client disconnected.")
        data += message.get("body", b"")
        more = message.get("more_body", False)
        if len(data) > limit:
            raise TooLargeError("more than that", limit, close=True)
    return bytes(data)


def _unzip(data: bytes, limit: int) -> bytes:
    """Decompress no more than the limit: 200 MiB of zeros travel as 204 kB."""
    unpacker = zlib.decompressobj(31)
    try:
        found = unpacker.decompress(data, limit + 1)
    except zlib.error as error:
        raise InvalidInputError(f"The body is not gzip: {error}.") from error
    if len(found) > limit:
        raise TooLargeError("more than that after decompression", limit, close=False)
    if not unpacker.eof:
        raise InvalidInputError("The gzip body is cut off.")
    return found

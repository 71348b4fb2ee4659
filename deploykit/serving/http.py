"""The wire: routes, bodies and status codes of the server, as a bare ASGI application.

No framework stands in the way: parsing the body is the bill, and the rest of a request takes a few microseconds. Paths
match without regard to case, as TensorFlow Serving's do; model names are compared exactly.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, NamedTuple

from deploykit.artifacts.wire import JSON_LENGTH
from deploykit.core.serial import dump, parse
from deploykit.serving import rest_v1, rest_v2
from deploykit.serving.dataplane import DataPlane
from deploykit.serving.faults import (
    BadRequestError,
    EncodingError,
    MethodError,
    NotFoundError,
    NotReadyError,
    SlowError,
    TooLargeError,
)
from deploykit.serving.runner import Runner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.serving.traffic import Counters

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

#: Largest body, after decompression.
BODY_BYTES = 64 << 20
#: Time a body may take to arrive.
BODY_SECONDS = 30.0
#: A body whose length is known to be beyond this is not even read away: the connection is closed.
_DRAIN_BYTES = 1 << 30
_KNOWN_PATHS = 256

_MODEL = r"(?P<model>[^/:]+)(?:/versions/(?P<version>[^/:]+)|/labels/(?P<label>[^/:]+))?"
_V1 = re.compile(rf"/v1/models/{_MODEL}(?P<what>/metadata|:predict|:classify|:regress)?/?", re.IGNORECASE)
_V2 = re.compile(rf"/v2/models/{_MODEL}(?P<what>/ready|/infer)?/?", re.IGNORECASE)

_JSON = b"application/json"
_BINARY = b"application/octet-stream"

_log = logging.getLogger("deploykit.serving")


class Response(NamedTuple):
    """What goes back.

    Attributes:
        status: HTTP status.
        body: The body.
        kind: Content type.
        headers: More headers.
    """

    status: int
    body: bytes
    kind: bytes = _JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


Handler = Callable[[bytes, Headers], Awaitable[Response]]


class App:
    """The ASGI application for one model.

    Args:
        plane: The model.
        counters: Where predictions are counted; None: nowhere.

    Attributes:
        draining: Set when the server goes down: readiness is over, requests in progress are still answered.
    """

    def __init__(self, plane: DataPlane, counters: Counters | None = None) -> None:
        self.draining = False
        self._counters = counters
        self._plane = plane
        self._runner = Runner(plane)
        self._known: dict[str, tuple[str, Handler]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = 0.0
        try:
            method, handler = self._route(scope["path"])
            got = scope["method"]
            if got != method and not (got == "HEAD" and method == "GET"):
                raise MethodError(got, method)
            headers = scope["headers"]
            body = await _body(headers, receive) if method == "POST" else b""
            began = time.perf_counter() if method == "POST" else 0.0
            response = await handler(body, headers)
        except BadRequestError as error:
            response = _refusal(error)
        except Exception:
            _log.exception("request to %r failed", scope["path"])
            response = Response(500, dump({"error": "internal error; the server's log has the details."}))
        if self._counters is not None and scope["method"] == "POST":
            self._count(self._counters, response, began)
        length = str(len(response.body)).encode()
        head = [(b"content-type", response.kind), (b"content-length", length), *response.headers]
        await send({"type": "http.response.start", "status": response.status, "headers": head})
        await send({"type": "http.response.body", "body": response.body})

    @staticmethod
    def _count(counters: Counters, response: Response, began: float) -> None:
        if response.status == 200:
            counters.answered(time.perf_counter() - began)
        else:
            counters.refused()

    def _route(self, path: str) -> tuple[str, Handler]:
        found = self._known.get(path)
        if found is None:
            found = self._find(path)
            if len(self._known) < _KNOWN_PATHS:
                self._known[path] = found
        return found

    def _find(self, path: str) -> tuple[str, Handler]:
        fixed: Mapping[str, Handler] = {
            "/v2": _always(rest_v2.server_metadata()),
            "/v2/health/live": _always(b'{"live":true}'),
            "/v2/health/ready": self._ready(b'{"ready":true}'),
        }
        plain = path.lower().rstrip("/")
        if plain in fixed:
            return "GET", fixed[plain]
        if match := _V1.fullmatch(path):
            return self._find_v1(match)
        if match := _V2.fullmatch(path):
            return self._find_v2(match)
        raise NotFoundError(
            f"No such route: {path[:200]}; there are /v1/models/{self._plane.name}[:predict] and "
            f"/v2/models/{self._plane.name}[/infer]."
        )

    def _find_v1(self, match: re.Match[str]) -> tuple[str, Handler]:
        self._plane.check_model(match["model"], match["version"] or match["label"])
        what = (match["what"] or "").lower()
        if what == ":predict":
            return "POST", self._predict
        if what in (":classify", ":regress"):
            raise BadRequestError(f"The model's signature is for predict; expected :predict, got {what}.")
        if what == "/metadata":
            return "GET", _always(dump(rest_v1.metadata(self._plane)))
        return "GET", _always(dump(rest_v1.status()))

    def _find_v2(self, match: re.Match[str]) -> tuple[str, Handler]:
        self._plane.check_model(match["model"], match["version"] or match["label"])
        what = (match["what"] or "").lower()
        if what == "/infer":
            return "POST", self._infer
        if what == "/ready":
            return "GET", self._ready(dump({"name": self._plane.name, "ready": True}))
        return "GET", _always(rest_v2.model_metadata(self._plane))

    async def _predict(self, body: bytes, headers: Headers) -> Response:
        # Neither true nor false is in a body without these letters, as in most: to look for words takes longer.
        truths = b"u" in body or b"l" in body
        batch, rows = rest_v1.read_predict(self._plane, _read_json(body), truths=truths)
        outputs = await self._runner.run(batch)
        return Response(200, _write_json(rest_v1.write_predict(outputs, rows=rows), outputs))

    async def _infer(self, body: bytes, headers: Headers) -> Response:
        length = _json_length(headers, len(body))
        message = _read_json(body if length == len(body) else body[:length])
        batch, wanted = rest_v2.read_infer(self._plane, message, memoryview(body)[length:])
        outputs = await self._runner.run(batch)
        answer, blobs = rest_v2.write_infer(self._plane, outputs, wanted)
        text = _write_json(answer, outputs)
        if not wanted.binary:
            return Response(200, text)
        return Response(200, text + blobs, _BINARY, ((JSON_LENGTH.lower().encode(), str(len(text)).encode()),))

    def _ready(self, body: bytes) -> Handler:
        async def handler(_: bytes, __: Headers) -> Response:
            if self.draining:
                raise NotReadyError("The server is shutting down.")
            return Response(200, body)

        return handler


def _always(body: bytes) -> Handler:
    async def handler(_: bytes, __: Headers) -> Response:
        return Response(200, body)

    return handler


def _refusal(error: BadRequestError) -> Response:
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if isinstance(error, MethodError):
        headers = ((b"allow", error.allowed.encode()),)
    if isinstance(error, SlowError) or (isinstance(error, TooLargeError) and error.close):
        headers = ((b"connection", b"close"),)
    return Response(error.status, dump({"error": error.message}), headers=headers)


async def _body(headers: Headers, receive: Receive) -> bytes:
    """The request's body, decompressed.

    Raises:
        BadRequestError: Too large, too slow, or of an unknown encoding.
    """
    encoding = b""
    for name, value in headers:
        if name == b"content-length" and int(value) > BODY_BYTES:
            raise TooLargeError(f"{int(value):,}", BODY_BYTES, close=int(value) > _DRAIN_BYTES)
        if name == b"content-encoding":
            encoding = value.strip().lower()
    if encoding not in (b"", b"identity", b"gzip"):
        shown = encoding.decode("latin-1")
        raise EncodingError(f"Expected Content-Encoding gzip or none, got {shown!r}.")
    message = await receive()
    data: bytes = message.get("body", b"")
    if message.get("more_body"):
        try:
            async with asyncio.timeout(BODY_SECONDS):
                data = await _rest(data, receive)
        except TimeoutError:
            raise SlowError(f"The body did not arrive within {BODY_SECONDS:g} s.") from None
    return _unzip(data) if encoding == b"gzip" else data


async def _rest(first: bytes, receive: Receive) -> bytes:
    data = bytearray(first)
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequestError("The client disconnected.")
        data += message.get("body", b"")
        more = message.get("more_body", False)
        if len(data) > BODY_BYTES:
            raise TooLargeError("more than that", BODY_BYTES, close=True)
    return bytes(data)


def _unzip(data: bytes) -> bytes:
    """Decompress no more than the limit: 200 MiB of zeros travel as 204 kB."""
    unpacker = zlib.decompressobj(31)
    try:
        found = unpacker.decompress(data, BODY_BYTES + 1)
    except zlib.error as error:
        raise BadRequestError(f"The body is not gzip: {error}.") from error
    if len(found) > BODY_BYTES:
        raise TooLargeError("more than that after decompression", BODY_BYTES, close=False)
    if not unpacker.eof:
        raise BadRequestError("The gzip body is cut off.")
    return found


def _json_length(headers: Headers, size: int) -> int:
    wanted = JSON_LENGTH.lower().encode()
    for name, value in headers:
        if name == wanted:
            if not value.isdigit() or int(value) > size:
                shown = value.decode("latin-1")
                raise BadRequestError(f"{JSON_LENGTH}: expected a number up to the body's {size} bytes, got {shown!r}.")
            return int(value)
    return size


def _read_json(body: bytes) -> Any:
    try:
        return parse(body)
    except ValueError as error:
        if b"NaN" not in body and b"Infinity" not in body:
            raise _not_json(error) from error
    try:  # TensorFlow Serving takes these literals, the fast parser does not
        return json.loads(body, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise _not_json(error) from error


def _finite(text: str) -> float:
    if math.isinf(found := float(text)):
        raise ValueError(f"{text[:40]} is out of range")
    return found


def _not_json(error: Exception) -> BadRequestError:
    text = " ".join(str(error).split())[:200].rstrip(".")
    if "recursion" in text.lower():
        text = "it is nested too deeply"
    return BadRequestError(f"Expected JSON: {text}.")


def _write_json(message: Any, outputs: Mapping[str, NDArray[Any]]) -> bytes:
    """JSON text of plain data; values that are not numbers as the literals that clients of these protocols know."""
    import msgspec
    import numpy as np

    if all(a.dtype.kind != "f" or np.isfinite(a).all() for a in outputs.values()):
        return msgspec.json.encode(message)  # without dump's walk over the data: this is the path of every request
    return json.dumps(message).encode()

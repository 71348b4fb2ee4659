"""What answers HTTP requests: finds the protocol and its endpoint, unpacks bodies, turns faults into answers.

No framework stands in the way: parsing the body is the bill, and the rest of a request takes a few microseconds. Paths
belong to the protocols in `deploykit.serving.wires`; they match without regard to case, as TensorFlow Serving's do, and
model names are compared exactly. Connections are the business of `deploykit.serving.transport.connection`.
"""

from __future__ import annotations

import asyncio
import logging
import time

from deploykit.serving.faults import (
    Fault,
    InternalError,
    NotFoundError,
    OverloadError,
    UnavailableError,
)
from deploykit.serving.meter import VISIT, Visit
from deploykit.serving.protection.guard import CALLER, UnauthorizedError, bearer
from deploykit.serving.records.entry import request_id
from deploykit.serving.service import Service
from deploykit.serving.splits import ASKED, CANARY_HEADER
from deploykit.serving.transport.bodies import CODINGS, QUICK_BYTES, Unpacker
from deploykit.serving.transport.heads import Head
from deploykit.serving.transport.lane import Asker, Ride
from deploykit.serving.transport.recorded import recorded
from deploykit.serving.wires._contract import WIRES, Endpoint, HTTPWire, Response, refusal

_KNOWN_PATHS = 256
#: Status of a request whose client did not wait, in records; nothing is sent.
_GONE = 499

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
    """Answers the HTTP requests of a service.

    Args:
        service: What it serves.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        wires = (wire for wire in WIRES.all() if isinstance(wire, HTTPWire))
        self._wires = tuple(sorted(wires, key=lambda wire: -len(wire.prefix)))
        ways = [(prefix, wire) for wire in self._wires for prefix in (wire.prefix, *wire.others)]
        self._prefixes = tuple(sorted(ways, key=lambda way: -len(way[0])))
        self._known: dict[str, tuple[HTTPWire, Endpoint]] = {}

    def check(self, head: Head) -> None:
        """Raise a `Fault` for a request that its head alone condemns, before the body is read."""
        self._endpoint(head)
        _check_encoding(head)

    def ride(self, head: Head, body: bytes, asker: Asker) -> Ride | None:
        """Have a request answered the short way; None where it must take the usual one."""
        service, known = self._service, self._known.get(head.path)
        if known is None or head.method != "POST" or head.encoding:
            return None
        wire, endpoint = known
        if endpoint.quick is None or service.split or service.guard is not None:
            return None
        arrived = time.perf_counter()
        try:
            ready = endpoint.quick(body, head.headers)
            if ready is None:
                return None
            ride = Ride(service, wire.name, head, body, ready, arrived, asker)
            return ride if ride.start() else None
        except Exception:  # the usual way says what is wrong
            return None

    async def answer(self, head: Head, body: bytes) -> Response:
        """Answer one request; whatever goes wrong is an answer as well."""
        visit = Visit(time.perf_counter())
        VISIT.set(visit)
        marked = head.request_id or self._service.recorder is not None
        if marked:
            visit.id = request_id(head.request_id)
        response = await self._answer(head, body, visit)
        self._count(head, response, visit)
        return self._recorded(head, response, visit) if marked else response

    async def _answer(self, head: Head, body: bytes, visit: Visit) -> Response:
        try:
            handler = self._endpoint(head)[1].handler
            if self._service.split:
                ASKED.set(next((v.decode("latin-1") for n, v in head.headers if n == CANARY_HEADER), ""))
            if head.encoding and _check_encoding(head):
                body = await _unpacked(body, head.encoding, self._service.limits.request_bytes)
            response = await handler(body, head.headers)
        except Fault as fault:
            return self._refused(head, fault)
        except Exception:
            _log.exception("request %sto %r failed", f"{visit.id} " if visit.id else "", head.path)
            return self._refused(head, InternalError())
        if self._predicts(head):
            if response.status == 200:
                self._service.answered(time.perf_counter() - visit.arrived)
            else:
                self._service.refused()
        return response

    def refuse(self, head: Head | None, fault: Fault) -> Response:
        """The answer to a request that is not answered, in the form of its protocol; counts predictions.

        Args:
            head: The request; None if not even its head could be read.
            fault: Why.
        """
        response = self._refused(head, fault)
        visit = Visit(time.perf_counter())
        self._count(head, response, visit)
        given = b"" if head is None else head.request_id
        if not given and self._service.recorder is None:
            return response
        visit.id = request_id(given)
        return self._recorded(head, response, visit)

    def _refused(self, head: Head | None, fault: Fault) -> Response:
        if head is not None and self._predicts(head):
            self._service.refused()
        wire = self._wire_of(head)
        response = refusal(fault) if wire is None else wire.refusal(fault)
        if isinstance(fault, MethodError):
            return response._replace(headers=(*response.headers, (b"allow", fault.allowed.encode())))
        if isinstance(fault, OverloadError):
            return response._replace(headers=(*response.headers, (b"retry-after", str(fault.retry_s).encode())))
        if isinstance(fault, UnauthorizedError):
            return response._replace(headers=(*response.headers, (b"www-authenticate", b"Bearer")))
        if isinstance(fault, UnavailableError):
            return response._replace(headers=(*response.headers, (b"retry-after", b"1")))
        return response

    def given_up(self, head: Head | None) -> None:
        """Count a request whose client is gone."""
        if head is not None and self._predicts(head):
            self._service.refused()
        if head is not None and self._service.recorder is not None:
            visit = Visit(time.perf_counter())
            visit.id = request_id(head.request_id)
            self._recorded(head, Response(_GONE, b""), visit)

    def _recorded(self, head: Head | None, response: Response, visit: Visit) -> Response:
        """The response with the request's id, which is recorded where that is asked for."""
        wire = self._wire_of(head)
        return recorded(
            self._service, "http" if wire is None else wire.name, head, response, visit,
            predicts=head is not None and self._predicts(head),
        )  # fmt: skip

    def _count(self, head: Head | None, response: Response, visit: Visit) -> None:
        if self._service.meter is not None:
            wire = self._wire_of(head)
            self._service.meter.answered(visit, "http" if wire is None else wire.name, str(response.status))

    def _wire_of(self, head: Head | None) -> HTTPWire | None:
        if head is None:
            return None
        known = self._known.get(head.path)
        return known[0] if known else self._wire(head.path)

    def _predicts(self, head: Head) -> bool:
        """Whether a request counts as a prediction; one for a path that there is not is taken for one."""
        if head.method != "POST":
            return False
        known = self._known.get(head.path)
        return known is None or known[1].scope == "predict"

    def _endpoint(self, head: Head) -> tuple[HTTPWire, Endpoint]:
        """The protocol and what it answers a request with.

        Raises:
            Fault: There is none, or it takes another method.
        """
        known = self._known.get(head.path)
        if known is None:
            try:
                known = self._find(head.path)
            except Fault:
                self._admit(head, "predict")  # what there is and is not is for those with a token
                raise
        method, scope = known[1].method, known[1].scope
        if scope:
            self._admit(head, scope)
        if head.method != method and not (head.method == "HEAD" and method == "GET"):
            raise MethodError(head.method, method)
        return known

    def _admit(self, head: Head, scope: str) -> None:
        """Have the request run as its caller.

        Raises:
            UnauthorizedError: It has no valid token, where tokens are needed.
            ForbiddenError: Its token is for something else.
        """
        if self._service.guard is not None:
            CALLER.set(self._service.guard.caller(bearer(head.headers), scope))

    def _wire(self, path: str) -> HTTPWire | None:
        """The protocol whose paths begin like this one."""
        lower = path.lower()
        return next((wire for prefix, wire in self._prefixes if lower.startswith(prefix)), None)

    def _find(self, path: str) -> tuple[HTTPWire, Endpoint]:
        wire = self._wire(path)
        endpoint = None if wire is None else wire.endpoint(path, self._service)
        if wire is None or endpoint is None:
            examples = (wire.example(name) for name in self._service.names for wire in self._wires)
            there = " and ".join(filter(None, examples))
            raise NotFoundError(f"No such route: {path[:200]}; there are {there or 'no models to ask'}.")
        if len(self._known) < _KNOWN_PATHS:
            self._known[path] = wire, endpoint
        return wire, endpoint


def _check_encoding(head: Head) -> bool:
    """Whether the body is packed.

    Raises:
        EncodingError: In a way that is not understood.
    """
    if head.encoding in (b"", b"identity"):
        return False
    if head.encoding not in CODINGS:
        shown = head.encoding.decode("latin-1")[:100]
        raise EncodingError(f"Expected Content-Encoding gzip, deflate or none, got {shown!r}.")
    return True


async def _unpacked(data: bytes, coding: bytes, limit: int) -> bytes:
    """Unpack a body; what takes longer than a moment in a thread."""
    unpacker = Unpacker(data, coding, limit)
    if unpacker.run(min(QUICK_BYTES, limit + 1)):
        return unpacker.rest()
    return await asyncio.get_running_loop().run_in_executor(None, unpacker.rest)

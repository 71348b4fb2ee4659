"""What a protocol is: it translates requests to calls of the `Service`, and answers and faults back."""

from __future__ import annotations

import socket
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from deploykit.core.adapter import Adapter
from deploykit.core.registry import Registry
from deploykit.core.serial import dump
from deploykit.serving.faults import Fault
from deploykit.serving.served import ServedModel
from deploykit.serving.service import Service

if TYPE_CHECKING:
    from deploykit.serving.batches import Batch, Outputs

Headers = list[tuple[bytes, bytes]]

JSON = b"application/json"

#: Kind of a fault → status, as REST protocols use them.
STATUSES: Mapping[str, int] = {
    "invalid": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method": 405,
    "deadline": 408,
    "too_large": 413,
    "encoding": 415,
    "expectation": 417,
    "host": 421,
    "poison": 422,
    "overload": 429,
    "head": 431,
    "internal": 500,
    "unavailable": 503,
    "expired": 504,
    "version": 505,
}


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
    kind: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


Handler = Callable[[bytes, Headers], Awaitable[Response]]

#: Finds the model of a path for each request again, since others may have been added; it may raise a `NotFoundError`.
Find = Callable[[], ServedModel]


class Ready(NamedTuple):
    """A request that has been read.

    Attributes:
        model: What runs it.
        batch: Its examples.
        write: The outputs → the response.
    """

    model: ServedModel
    batch: Batch
    write: Callable[[Outputs], Response]


class Endpoint(NamedTuple):
    """What answers a path.

    Attributes:
        method: The only HTTP method it takes; GET includes HEAD.
        handler: Body and headers (lower case) → response. It may raise a `Fault`.
        scope: What a token must be for, see `deploykit.core.security.tokens`; "": nothing, since it says nothing.
        quick: Reads an ordinary request, and leaves all others, and those that it would take long to read, to the
            handler: it then returns None, or raises whatever it likes.
    """

    method: str
    handler: Handler
    scope: str = "predict"
    quick: Callable[[bytes, Headers], Ready | None] | None = None


#: Ends what a protocol has started; requests in progress are answered.
Stop = Callable[[], Awaitable[None]]


class Wire(Adapter):
    """A protocol of the server.

    Attributes:
        own_port: Whether it listens on a port of its own, which the user chooses by its name; else it has paths of the
            HTTP server.
    """

    own_port: ClassVar[bool] = False

    async def start(self, service: Service, listener: socket.socket) -> Stop:
        """Begin to answer on a port of its own, in the event loop of a worker process; see `PortWire`."""
        raise NotImplementedError(f"{self.name} has no port of its own.")


class PortWire(Wire):
    """A protocol on a port of its own. It is served if the user gives it a port.

    Attributes:
        opens_port: Whether its library listens by itself: the socket it gets holds the port for it and does not listen.
            While a worker is restarted, connections are then refused instead of waiting.
    """

    own_port = True
    opens_port: ClassVar[bool] = False

    @abstractmethod
    async def start(self, service: Service, listener: socket.socket) -> Stop:
        """Begin to answer, in the event loop of a worker process.

        The service belongs to that loop: other threads reach it by `asyncio.run_coroutine_threadsafe`. Predictions are
        counted by `Service.answered` and `Service.refused`.

        Args:
            service: What is served.
            listener: A socket that listens already; every worker has one on the same port. With `opens_port`, it only
                holds the port, on which the library listens with ``SO_REUSEPORT`` where that exists.

        Returns:
            What ends it.
        """


class HTTPWire(Wire):
    """A protocol over HTTP.

    Attributes:
        prefix: Start of its paths, in lower case. Of protocols whose prefixes begin a path, the longest has it.
        others: Further prefixes, of paths that other servers have for the same.
    """

    prefix: ClassVar[str]
    others: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def endpoint(self, path: str, service: Service) -> Endpoint | None:
        """What answers a path, None if it is not one of this protocol's.

        It is asked once for each path: the endpoint looks up the model for each request.

        Raises:
            Fault: The path is one of this protocol's, and names what there is not.
        """

    @abstractmethod
    def example(self, model: str) -> str:
        """Paths of a model, for messages; "" for a protocol that is not about models."""

    def refusal(self, fault: Fault) -> Response:
        """What goes back for a request that is not answered."""
        return refusal(fault)


def refusal(fault: Fault) -> Response:
    """What goes back where no protocol has a form of its own."""
    return Response(STATUSES[fault.kind], dump({"error": fault.message}))


WIRES: Registry[Wire] = Registry("deploykit.serving.wires", "protocol")


def get(answer: Callable[[], bytes], scope: str = "predict") -> Endpoint:
    """An endpoint for GET, without a body."""

    async def handler(_: bytes, __: Headers) -> Response:
        return Response(200, answer())

    return Endpoint("GET", handler, scope)

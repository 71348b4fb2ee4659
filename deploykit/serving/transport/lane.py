"""The short way for requests that a quick model answers: no task, no future, nothing it can do without.

It is taken where nothing but the answer is asked for: no token, no share of a canary. Whatever goes wrong on
it, the request takes the usual way from the start, which says what is wrong.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from deploykit.serving.meter import Visit
from deploykit.serving.records.entry import request_id
from deploykit.serving.runner import Runner
from deploykit.serving.transport.recorded import recorded

if TYPE_CHECKING:
    from deploykit.serving.runner import Ran
    from deploykit.serving.service import Service
    from deploykit.serving.transport.heads import Head
    from deploykit.serving.wires._contract import Ready, Response


class Asker(Protocol):
    """The connection of a request."""

    def answered(self, head: Head, response: Response) -> None:
        """Take the answer."""

    def again(self, head: Head, body: bytes) -> None:
        """Have the request take the usual way."""


class Ride:
    """A request on its way.

    Args:
        service: What serves it.
        wire: Name of its protocol.
        head: Its head.
        body: Its body.
        ready: What runs, and how the answer is written.
        arrived: When it was there, by ``time.perf_counter``.
        asker: Its connection.

    Attributes:
        gone: Whether its client has stopped waiting.
    """

    __slots__ = ("_arrived", "_asker", "_body", "_decoded", "_head", "_ready", "_service", "_wire", "gone")

    def __init__(
        self, service: Service, wire: str, head: Head, body: bytes, ready: Ready, arrived: float, asker: Asker
    ) -> None:
        self._service = service
        self._wire = wire
        self._head = head
        self._body = body
        self._ready = ready
        self._asker = asker
        self._arrived = arrived
        self._decoded = time.perf_counter()
        self.gone = False

    def start(self) -> bool:
        """Set out; False where there is no such way for it."""
        model, batch, _ = self._ready
        runner = model.runner
        return isinstance(runner, Runner) and runner.soon(batch, self)

    def cancel(self) -> None:
        """The client waits no longer."""
        self.gone = True

    def take(self, ran: Ran | None) -> None:
        """Take the outputs; None: they must be computed in the usual way."""
        head, asker, service = self._head, self._asker, self._service
        response = None
        if ran is not None:
            model, batch, write = self._ready
            try:
                response = write(ran[0])
            except Exception:  # the usual way says what it is
                response = None
        if ran is None or response is None:
            asker.again(head, self._body)
            return
        ended = time.perf_counter()
        service.answered(ended - self._arrived)
        if service.meter is not None:
            key = model.name, model.version, self._wire, "200"
            service.meter.record(key, (self._arrived, self._decoded, ran[1], ran[2], ended))
        if head.request_id or service.recorder is not None:
            visit = Visit(self._arrived)
            visit.id, visit.examples = request_id(head.request_id), batch.count
            visit.model, visit.version, visit.decoded = model.name, model.version, self._decoded
            visit.began, visit.ended = ran[1], ran[2]
            runner = model.runner
            if isinstance(runner, Runner) and runner.tap is not None:
                runner.tap.answered(visit.id, ran[0])
            response = recorded(service, self._wire, head, response, visit, predicts=True)
        asker.answered(head, response)

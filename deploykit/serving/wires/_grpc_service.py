"""What the gRPC protocols share: a request's way to the model and back, and faults as status codes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

from deploykit.core.protos.messages import message, pool
from deploykit.serving.batches import Batch
from deploykit.serving.control import control
from deploykit.serving.faults import DeadlineError, ExpiredError, Fault, InvalidInputError
from deploykit.serving.meter import VISIT
from deploykit.serving.protection.guard import CALLER
from deploykit.serving.runner import Runner
from deploykit.serving.served import ServedModel
from deploykit.serving.service import Service

if TYPE_CHECKING:
    from deploykit.serving.batches import Outputs
    from deploykit.serving.dataplane import DataPlane
    from deploykit.serving.runner import Ran
    from deploykit.serving.served import Done

T = TypeVar("T")

#: Time for what a client has done to the server.
_ORDER_SECONDS = 600.0

#: Kind of a fault → name of its status code.
CODES: Mapping[str, str] = {
    "invalid": "INVALID_ARGUMENT",
    "unauthorized": "UNAUTHENTICATED",
    "forbidden": "PERMISSION_DENIED",
    "not_found": "NOT_FOUND",
    "method": "UNIMPLEMENTED",
    "deadline": "DEADLINE_EXCEEDED",
    "expired": "DEADLINE_EXCEEDED",
    "encoding": "INVALID_ARGUMENT",
    "too_large": "RESOURCE_EXHAUSTED",
    "poison": "FAILED_PRECONDITION",
    "overload": "RESOURCE_EXHAUSTED",
    "internal": "INTERNAL",
    "unavailable": "UNAVAILABLE",
    "gone": "CANCELLED",
}


class UnimplementedError(Fault):
    """The protocol has the method, this server does not."""

    kind = "method"


class GoneError(Fault):
    """The client cancelled; it reads no answer."""

    kind = "gone"


class Call:
    """One request, in a thread of the gRPC server.

    Args:
        service: What is served.
        loop: The event loop that the service belongs to.
        context: A ``grpc.ServicerContext``.

    Attributes:
        service: What is served.
        context: What the library knows of the call.
        began: When the request was there, by ``time.perf_counter``.
    """

    __slots__ = ("_loop", "began", "context", "service")

    def __init__(self, service: Service, loop: asyncio.AbstractEventLoop, context: Any) -> None:
        self.service = service
        self.began = time.perf_counter()
        self._loop = loop
        self.context = context

    def run(self, model: ServedModel, batch: Batch) -> Outputs:
        """Outputs by name.

        Raises:
            DeadlineError: The client's deadline has passed. What has not begun by then is not computed.
            ExpiredError: The server's own limit has passed.
            GoneError: The client cancelled.
            Fault: What the runner raises.
        """
        if isinstance(model.runner, Runner) and CALLER.get() is None:
            outputs = self._run_soon(model, model.runner, batch)
            if outputs is not None:
                return outputs
        return self._wait(lambda: model.runner.run(batch))

    def apart(self, model: ServedModel, batch: Batch, work: Callable[[DataPlane, Batch], Done]) -> Done:
        """What else is to be found out of a batch; errors as for `run`."""
        return self._wait(lambda: model.runner.apart(batch, work))

    def _run_soon(self, model: ServedModel, runner: Runner, batch: Batch) -> Outputs | None:
        """Outputs of a quick model, without a task for the request; None where that is not the way for it."""
        decoded = time.perf_counter()
        soon = _Soon(runner, batch)
        self._await(soon.done, soon.begin, soon.cancel, self.service.limits.answer_seconds)
        if soon.gone:
            raise GoneError("The client cancelled the request.")
        if soon.ran is None:
            return None
        outputs, began, ended = soon.ran
        if (visit := VISIT.get()) is not None:
            visit.model, visit.version, visit.examples = model.name, model.version, batch.count
            visit.decoded, visit.began, visit.ended = decoded, began, ended
            if visit.id and runner.tap is not None:
                runner.tap.answered(visit.id, outputs)
        return outputs

    def ask(self, question: Callable[[], T]) -> T:
        """Call a function in the service's event loop."""

        async def answer() -> T:
            return question()

        return self._wait(answer)

    def order(self, what: str, arguments: Mapping[str, Any]) -> None:
        """Have the server do something, see `deploykit.serving.control`; it may take as long as models take to load."""
        self._wait(lambda: control(self.service, what, arguments), _ORDER_SECONDS)

    def _wait(self, start: Callable[[], Coroutine[Any, Any, T]], limit: float | None = None) -> T:
        """Run a coroutine in the loop; `asyncio.run_coroutine_threadsafe` takes 20 µs more."""
        tasks: list[asyncio.Task[T]] = []
        done = threading.Lock()
        done.acquire()

        def begin() -> None:
            tasks.append(task := self._loop.create_task(start()))
            task.add_done_callback(lambda _: done.release())

        def cancel() -> None:
            for task in tasks:
                task.cancel()

        self._await(done, begin, cancel, limit or self.service.limits.answer_seconds)
        done.release()
        if tasks[0].cancelled():
            raise GoneError("The client cancelled the request.")
        return tasks[0].result()

    def _await(self, done: threading.Lock, begin: Callable[[], None], cancel: Callable[[], None], limit: float) -> None:
        """Begin something in the loop and wait for it.

        Args:
            done: Held until it is over.
            begin: Begins it, in the loop.
            cancel: Gives it up, in the loop.
            limit: Most seconds.

        Raises:
            DeadlineError: The client's deadline has passed.
            ExpiredError: The server's own limit has passed.
            GoneError: The client cancelled.
        """
        left = self.context.time_remaining()
        if left is not None and left <= 0:
            raise DeadlineError("The request's deadline passed before its turn.")

        def end() -> None:  # called when the call is over, whether it was answered or cancelled
            if done.locked():
                self._loop.call_soon_threadsafe(cancel)

        if not self.context.add_callback(end):
            raise GoneError("The client cancelled the request.")
        self._loop.call_soon_threadsafe(begin)
        if not done.acquire(timeout=limit if left is None else min(left, limit)):
            self._loop.call_soon_threadsafe(cancel)
            if left is None or left > limit:
                raise ExpiredError(f"The answer was not ready within {limit:g} s.")
            raise DeadlineError("The answer was not ready by the request's deadline.")


class _Soon:
    """A batch on the short way to a quick model, for which a thread waits."""

    __slots__ = ("_batch", "_runner", "done", "gone", "ran")

    def __init__(self, runner: Runner, batch: Batch) -> None:
        self._runner = runner
        self._batch = batch
        self.done = threading.Lock()
        self.done.acquire()
        self.gone = False
        self.ran: Ran | None = None

    def begin(self) -> None:
        try:
            taken = self._runner.soon(self._batch, self)
        except Exception:  # the usual way says what is wrong
            taken = False
        if not taken:
            self.done.release()

    def cancel(self) -> None:
        self.gone = True
        if self.done.locked():
            self.done.release()

    def take(self, ran: Ran | None) -> None:
        self.ran = ran
        self.done.release()


#: The message of a request → the message of its answer.
Method = Callable[[Any, Call], Any]


@dataclass(frozen=True)
class GrpcService:
    """One gRPC service.

    Attributes:
        full_name: Its name with its package.
        predictions: Methods that run a model; they are counted, and answered in the thread that read the request.
        questions: Methods about models and the server; answered in the service's event loop.
        long_questions: Those that take a while, or are answered while a model holds up the event loop; answered in a
            thread.
        streams: Methods with a stream of requests, each of which gets an answer: what answers one, and what answers a
            request that is refused.
        orders: Methods that have something done to the server.
        details: The words of a status for a fault.
        scopes: What a token must be for, by method: "predict" unless another is named; "" if none is needed.
    """

    full_name: str
    predictions: Mapping[str, Method] = field(default_factory=dict)
    questions: Mapping[str, Method] = field(default_factory=dict)
    long_questions: Mapping[str, Method] = field(default_factory=dict)
    orders: Mapping[str, Method] = field(default_factory=dict)
    streams: Mapping[str, tuple[Method, Callable[[Fault], Any]]] = field(default_factory=dict)
    details: Callable[[Fault], str] = attrgetter("message")
    scopes: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def requests(self) -> Mapping[str, Any]:
        """Classes of the methods' requests, by the methods' names."""
        return {m.name: message(m.input_type.full_name) for m in pool().FindServiceByName(self.full_name).methods}

    def read(self, method: str, data: bytes) -> Any:
        """The message of a request.

        Raises:
            InvalidInputError: It is not one.
        """
        return parse(self.requests[method], data)


def parse(kind: Any, data: bytes) -> Any:
    """The message that bytes are.

    Raises:
        InvalidInputError: They are none of that kind.
    """
    from google.protobuf.message import DecodeError

    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise InvalidInputError(f"Expected a message of type {kind.DESCRIPTOR.full_name}: {error}.") from error

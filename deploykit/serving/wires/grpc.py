"""gRPC on a port of its own: Open Inference v2 and TensorFlow Serving's services, health and reflection.

The library's threads read requests and write answers; models run where they always do, in the service's event loop.
grpcio's own event loop (``grpc.aio``) is two to five times as slow. Questions have threads of their own, so that health
is answered while all others wait for a slow model, and so have streams, each of which keeps one while it is open.

Calls with one request are taken as streams of one. On the wire this is the same, but the thread then learns of the call
before the message is there and gives up on a client that never sends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from operator import attrgetter
from typing import Any

from deploykit.core.protos.messages import pool
from deploykit.serving.faults import Fault, InternalError, InvalidInputError, OverloadError
from deploykit.serving.meter import VISIT, Visit
from deploykit.serving.protection.guard import CALLER, bearer
from deploykit.serving.records.entry import ID_HEADER, Entry, request_id, sane_id, sane_trace
from deploykit.serving.service import Service
from deploykit.serving.splits import ASKED, CANARY_HEADER
from deploykit.serving.wires import _open_inference, _tensorflow_serving
from deploykit.serving.wires._contract import PortWire, Stop
from deploykit.serving.wires._grpc_service import CODES, Call, GrpcService, Method, parse

#: Threads for predictions: so many requests may be read, or wait for the model, at the same time.
_THREADS = 16
#: Threads for questions.
_QUESTION_THREADS = 4
#: Streams at the same time; each keeps a thread while it is open.
_STREAMS = 64
#: A stream without a request for so long is ended.
_STREAM_SECONDS = 600.0
#: Time for the last answers to leave when all requests are answered.
_LEAVE_SECONDS = 0.5
#: A status travels in a header, whose size clients limit.
_MOST_CHARACTERS = 1000

_log = logging.getLogger("deploykit.serving")


class Grpc(PortWire):
    """Both gRPC protocols."""

    name = "grpc"
    label = "gRPC"
    help = "Open Inference v2 and TensorFlow Serving's services over gRPC, with health and reflection."
    requires = ("grpc", "grpc_health", "grpc_reflection")
    opens_port = True

    async def start(self, service: Service, listener: socket.socket) -> Stop:
        """Answer until the server stops."""
        return _Server(service, listener).stop


class _Server:
    """A running gRPC server. Made, and stopped, in the service's event loop."""

    def __init__(self, service: Service, listener: socket.socket) -> None:
        import grpc

        self._grpc = grpc
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(_THREADS, "deploykit-grpc")
        self._question_threads = ThreadPoolExecutor(_QUESTION_THREADS, "deploykit-grpc-question")
        # Streams beyond the limit are refused by two more threads; that takes no more than a moment.
        self._stream_threads = ThreadPoolExecutor(_STREAMS + 2, "deploykit-grpc-stream")
        self._streams = threading.Semaphore(_STREAMS)
        #: Calls that wait for their client, and when they are given up.
        self._waiting: dict[Any, float] = {}
        self._busy = 0
        self._changed = threading.Condition()
        services = (_open_inference.SERVICE, _tensorflow_serving.PREDICTIONS, _tensorflow_serving.MODELS)
        handlers = {path: handler for one in services for path, handler in self._handlers(one)}
        self._health = self._add_health(handlers, [one.full_name for one in services])

        class Finder(grpc.GenericRpcHandler):  # type: ignore[misc]  # the library has no types
            def service(self, details: Any) -> Any:
                return handlers.get(details.method)

        self._server = grpc.server(
            self._threads,
            handlers=[Finder()],
            maximum_concurrent_rpcs=service.limits.waiting,
            options=[
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", service.limits.request_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.server_handshake_timeout_ms", int(1000 * service.limits.request_seconds)),
            ],
        )
        addresses = [_address(listener), *(f"unix:{path}" for path in (service.sockets.get(Grpc.name),) if path)]
        if service.tls is None:
            add: Callable[[str], int] = self._server.add_insecure_port
        else:
            key, certificate, clients = service.tls.content()
            credentials = grpc.ssl_server_credentials(
                [(key, certificate)], root_certificates=clients, require_client_auth=clients is not None
            )
            add = partial(self._server.add_secure_port, server_credentials=credentials)
        for address in addresses:
            add(address)
        self._server.start()
        self._timer = self._loop.call_later(1.0, self._give_up)

    async def stop(self) -> None:
        """Take no more calls, answer those in progress, then end the streams that are left."""
        self._timer.cancel()
        self._health.enter_graceful_shutdown()
        seconds = self._service.limits.drain_seconds
        ended = self._server.stop(seconds)

        def drain() -> None:
            until = time.monotonic() + seconds
            with contextlib.suppress(TimeoutError):  # a pool works in order: what it had then has begun
                self._threads.submit(int).result(seconds)
            with self._changed:
                self._changed.wait_for(lambda: not self._busy, until - time.monotonic())
            self._server.stop(_LEAVE_SECONDS)
            ended.wait(_LEAVE_SECONDS + 1.0)

        await self._loop.run_in_executor(None, drain)

    # -- methods as handlers ------------------------------------------------------------------------------------------

    def _handlers(self, service: GrpcService) -> Iterator[tuple[str, Any]]:
        """The handlers of a service, by the methods' paths."""

        def answered(name: str, method: Method, *, counted: bool = False) -> Callable[[bytes, Call], bytes]:
            return partial(self._answer, service, name, method, counted=counted)

        def path(name: str) -> str:
            return f"/{service.full_name}/{name}"

        for name, method in service.predictions.items():
            yield path(name), self._unary(answered(name, method, counted=True), self._threads, service.details)
        questions = {
            **{name: _asked(method) for name, method in service.questions.items()},
            **service.long_questions,
        }
        for name, method in questions.items():
            yield path(name), self._unary(answered(name, method), self._question_threads, service.details)
        for name, method in service.orders.items():
            yield path(name), self._unary(answered(name, method), self._stream_threads, service.details)
        for name, (method, refusal) in service.streams.items():
            yield path(name), self._stream(answered(name, method, counted=True), refusal)

    def _unary(
        self,
        answer: Callable[[bytes, Call], bytes],
        threads: ThreadPoolExecutor,
        details: Callable[[Fault], str] = attrgetter("message"),
    ) -> Any:
        def behave(requests: Iterator[bytes], context: Any) -> bytes:
            with self._working():
                data = self._next(requests, context, self._service.limits.request_seconds)
                try:
                    if data is None:
                        raise InvalidInputError("Expected one request message, got none.")
                    return answer(data, Call(self._service, self._loop, context))
                except Fault as fault:
                    raise self._abort(context, fault, details(fault)) from None

        return self._grpc.stream_unary_rpc_method_handler(_in(threads, behave))

    def _stream(self, answer: Callable[[bytes, Call], bytes], refusal: Callable[[Fault], Any]) -> Any:
        def behave(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
            if not self._streams.acquire(blocking=False):
                fault = OverloadError(f"Expected at most {_STREAMS} streams at the same time; try again later.")
                raise self._abort(context, fault, fault.message)
            try:
                while (data := self._next(requests, context, _STREAM_SECONDS)) is not None:
                    with self._working():
                        try:
                            said = answer(data, Call(self._service, self._loop, context))
                        except Fault as fault:
                            said = refusal(fault).SerializeToString()
                    yield said
            finally:
                self._streams.release()

        return self._grpc.stream_stream_rpc_method_handler(_in(self._stream_threads, behave))

    def _answer(
        self, service: GrpcService, name: str, method: Method, data: bytes, call: Call, *, counted: bool
    ) -> bytes:
        visit = Visit(call.began)
        VISIT.set(visit)
        trace = self._identify(visit, call.context)
        path = f"/{service.full_name}/{name}"
        try:
            scope = service.scopes.get(name, "predict")
            if self._service.guard is not None and scope:
                CALLER.set(self._service.guard.caller(_secret(call.context), scope))
            if self._service.split:
                ASKED.set(_canary(call.context))
            answer: bytes = method(service.read(name, data), call).SerializeToString()
        except Exception as error:
            if counted:
                self._service.refused()
            self._count(
                visit, CODES[error.kind if isinstance(error, Fault) else "internal"], 0, path, call, trace, counted
            )
            if isinstance(error, Fault):
                raise
            _log.exception("request %sto %s failed", f"{visit.id} " if visit.id else "", path)
            raise InternalError from error
        if counted:
            self._service.answered(time.perf_counter() - call.began)
        self._count(visit, "OK", len(answer), path, call, trace, counted)
        return answer

    def _identify(self, visit: Visit, context: Any) -> bytes:
        """Give a request its id, which goes back to the client; the trace of the client's that it is part of."""
        given = trace = b""
        for key, value in context.invocation_metadata():
            if key == ID_HEADER:
                given = sane_id(value.encode())
            elif key == "traceparent":
                trace = sane_trace(value.encode())
        if given or self._service.recorder is not None:
            visit.id = request_id(given)
            context.set_trailing_metadata(((ID_HEADER, visit.id),))
        return trace

    def _count(self, visit: Visit, status: str, size: int, path: str, call: Call, trace: bytes, predicts: bool) -> None:
        guard = self._service.guard
        if self._service.meter is not None:
            self._service.meter.answered(visit, "grpc", status)
        if self._service.recorder is not None:
            token = "" if guard is None else guard.name_of(_secret(call.context))
            ended = time.perf_counter()
            self._service.recorder.add(
                Entry(visit.id, "grpc", "POST", path, status, size, predicts, token, trace, visit, ended)
            )

    def _abort(self, context: Any, fault: Fault, details: str) -> Exception:
        """End a call with a status: `context.abort` raises what the library expects."""
        said = details[:_MOST_CHARACTERS].encode("utf-8", "replace").decode()
        try:
            context.abort(getattr(self._grpc.StatusCode, CODES[fault.kind]), said)
        except Exception as error:
            return error
        raise AssertionError

    # -- waiting for clients ------------------------------------------------------------------------------------------

    def _next(self, requests: Iterator[bytes], context: Any, seconds: float) -> bytes | None:
        """The client's next message, None when there is no more."""
        self._waiting[context] = time.monotonic() + seconds
        try:
            return next(requests, None)
        finally:
            del self._waiting[context]

    def _give_up(self) -> None:
        """Cancel calls whose client has not sent a message in time; called every second."""
        if self._service.draining:
            self._health.enter_graceful_shutdown()
        now = time.monotonic()
        for context, until in list(self._waiting.items()):
            if until < now:
                context.cancel()
        self._timer = self._loop.call_later(1.0, self._give_up)

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        with self._changed:
            self._busy += 1
        try:
            yield
        finally:
            with self._changed:
                self._busy -= 1
                if not self._busy:
                    self._changed.notify_all()

    # -- health and reflection ----------------------------------------------------------------------------------------

    def _reflect(self, reflector: Any, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        """Describe the services to who may use them."""
        if self._service.guard is not None:
            try:
                self._service.guard.caller(_secret(context), "predict")
            except Fault as fault:
                raise self._abort(context, fault, fault.message) from None
        yield from reflector.ServerReflectionInfo(requests, context)

    def _add_health(self, handlers: dict[str, Any], names: list[str]) -> Any:
        """Add the health service of these services, and reflection."""
        from grpc_health.v1 import health, health_pb2
        from grpc_reflection.v1alpha import reflection, reflection_pb2

        request, response = health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
        servicer = health.HealthServicer(experimental_thread_pool=self._stream_threads)
        for name in names:
            servicer.set(name, response.SERVING)
        reflector = reflection.ReflectionServicer((*names, health.SERVICE_NAME), _with_file(health_pb2.DESCRIPTOR))
        mirror = self._grpc.stream_stream_rpc_method_handler(
            _in(self._stream_threads, partial(self._reflect, reflector)),
            reflection_pb2.ServerReflectionRequest.FromString,
            reflection_pb2.ServerReflectionResponse.SerializeToString,
        )

        def check(data: bytes, call: Call) -> bytes:
            if self._service.draining:
                servicer.enter_graceful_shutdown()
            found = servicer.Check(parse(request, data), call.context)
            if self._service.stands_still:
                found.status = response.NOT_SERVING
            answer: bytes = found.SerializeToString()
            return answer

        handlers |= {
            f"/{health.SERVICE_NAME}/Check": self._unary(check, self._question_threads),
            f"/{health.SERVICE_NAME}/Watch": self._grpc.unary_stream_rpc_method_handler(
                servicer.Watch, request.FromString, response.SerializeToString
            ),
            # Clients ask for the newer name first; the messages are the same.
            f"/{reflection.SERVICE_NAME}/ServerReflectionInfo": mirror,
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": mirror,
        }
        return servicer


def _secret(context: Any) -> bytes | None:
    """What a call shows in its metadata."""
    pairs = [(key.encode(), value) for key, value in context.invocation_metadata()]
    return bearer((key, value.encode() if isinstance(value, str) else value) for key, value in pairs)


def _canary(context: Any) -> str:
    """What a call says in its metadata of the canary."""
    wanted = CANARY_HEADER.decode()
    return next((value for key, value in context.invocation_metadata() if key == wanted), "")


def _asked(method: Method) -> Method:
    """The same method, in the service's event loop."""
    return lambda request, call: call.ask(lambda: method(request, call))


def _in(threads: ThreadPoolExecutor, behave: Callable[..., Any]) -> Callable[..., Any]:
    """Let the library call a function in those threads."""
    behave.experimental_thread_pool = threads  # type: ignore[attr-defined]  # where the library looks for it
    return behave


def _with_file(descriptor: Any) -> Any:
    """The pool of all definitions, with a file of the library's among them."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    found = pool()
    file = FileDescriptorProto()
    descriptor.CopyToProto(file)
    found.Add(file)
    return found


def _address(listener: socket.socket) -> str:
    """The address a socket holds, free for the library to listen on."""
    host, port = listener.getsockname()[:2]
    if not hasattr(socket, "SO_REUSEPORT"):
        listener.close()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


ADAPTER = Grpc()

"""The HTTP server of a worker: its connections, their deadlines and number, and its end without a lost request."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Collection
from typing import Any

from deploykit.serving.faults import Fault, UnavailableError
from deploykit.serving.service import Service
from deploykit.serving.transport.connection import Connection, State
from deploykit.serving.transport.heads import Heads
from deploykit.serving.transport.http import App

#: Descriptors that connections leave to models, logs and other protocols.
_RESERVED_FILES = 64
#: How often deadlines are looked at: four times within the shortest, within these bounds.
_LEAST_TICK, _MOST_TICK = 0.02, 1.0
#: What is cut off first when there is no room: a body that is arriving only after so many seconds.
_BODY_SECONDS = 5.0
#: Time for a connection that was opened just before the end to send its request.
_LAST_SECONDS = 1.0
#: Time for a client to close after its last answer when the server ends.
_GOODBYE_SECONDS = 0.25
_WAITING = (State.FRESH, State.HEAD, State.IDLE, State.ENDING)


class HTTPServer:
    """Serves HTTP on a socket. Belongs to one event loop.

    Args:
        service: What is served; its limits apply.
        hosts: Names that requests may ask for, see `Heads`.
        tick: Called whenever deadlines are looked at.

    Attributes:
        app: What answers.
        heads: What parses heads.
        limits: The service's limits.
        loop: The loop, once it is started.
        held: Bytes of requests in memory.
        draining: Whether connections end with their next answer.
    """

    def __init__(
        self, service: Service, hosts: Collection[str] = (), *, tick: Callable[[], None] = lambda: None
    ) -> None:
        self.app = App(service)
        self.limits = limits = service.limits
        self.heads = Heads(limits.header_bytes, limits.header_fields, hosts)
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.held = 0
        self._service = service
        self._tick = tick
        self._open: set[Connection] = set()
        self._joining: set[asyncio.Task[Any]] = set()
        self._most = min(limits.connections, _free_files())
        times = (limits.header_seconds, limits.request_seconds, limits.answer_seconds, limits.idle_seconds)
        self._every = min(_MOST_TICK, max(_LEAST_TICK, min(*times, limits.write_seconds) / 4))
        self._listener: socket.socket | None = None
        self._tls: dict[str, Any] = {}
        self._server: asyncio.Server | None = None
        self._empty = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def draining(self) -> bool:
        """Whether connections end with their next answer."""
        return self._service.draining

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open)

    async def start(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Begin to answer on a socket that listens, with TLS if wanted; the socket is the server's from now on."""
        listener.setblocking(False)
        self._listener = listener.dup()
        #: A handshake is the head of a connection, as far as patience goes.
        self._tls = {} if tls is None else {"ssl": tls, "ssl_handshake_timeout": self.limits.header_seconds}
        self._server = await self.loop.create_server(lambda: Connection(self), sock=listener, backlog=1024, **self._tls)
        self._look()

    async def drain(self, seconds: float) -> None:
        """End: connections that were accepted, or wait to be, get their answers, within so many seconds."""
        self._service.draining = True
        end = self.loop.time() + seconds
        await self._accept_rest()
        for connection in tuple(self._open):
            if connection.waits:
                connection.close()
            elif connection.state is State.FRESH:
                connection.deadline = min(connection.deadline, self.loop.time() + _LAST_SECONDS)
        flushed: float | None = None
        while self._open and (now := self.loop.time()) < end:
            if not all(connection.flushed for connection in self._open):
                flushed = None
            elif flushed is None:
                flushed = now
            elif now > flushed + _GOODBYE_SECONDS:
                break
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), 0.05)
        if self._timer is not None:
            self._timer.cancel()
        for connection in tuple(self._open):
            connection.cut()

    async def _accept_rest(self) -> None:
        """Close the listening socket when its queue is empty: the kernel resets what is in it."""
        if self._server is None or self._listener is None:
            return
        self._server.close()
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                break
            self.take(accepted, tls=True)
        await asyncio.gather(*self._joining, return_exceptions=True)
        self._listener.close()
        self._server = self._listener = None

    def take(self, accepted: socket.socket, *, tls: bool) -> None:
        """Serve a connection that another process has accepted.

        Args:
            accepted: The connection; it is the server's from now on.
            tls: Whether to speak TLS if the server does; else that is done on its way here.
        """
        accepted.setblocking(False)
        options = self._tls if tls else {}
        joining = self.loop.create_task(
            self.loop.connect_accepted_socket(lambda: Connection(self), accepted, **options)
        )
        self._joining.add(joining)
        joining.add_done_callback(self._joined)

    def _joined(self, task: asyncio.Task[Any]) -> None:
        self._joining.discard(task)
        if not task.cancelled():
            task.exception()  # a handshake that fails is its client's affair

    def last_words(self, late: Fault, lost: Fault) -> None:
        """Say that there will be no answer, from a thread while the loop stands still.

        Args:
            late: To those whose requests were read.
            lost: To those whose requests were not.
        """
        for connection in tuple(self._open):
            connection.last_words(late, lost)
        self._tick()
        if self._service.recorder is not None:
            self._service.recorder.close()

    def join(self, connection: Connection) -> None:
        """Take a connection in; makes room for it at the cost of the one that has waited longest for its client."""
        self._open.add(connection)
        if len(self._open) <= self._most:
            return
        now = self.loop.time()
        others = [
            (other.state is State.BODY, other.since, other)
            for other in self._open
            if other is not connection
            and (other.state in _WAITING or (other.state is State.BODY and now - other.since > _BODY_SECONDS))
        ]
        if others:
            min(others, key=lambda found: found[:2])[2].cut()
        elif len(self._open) > self._most + _RESERVED_FILES // 2:
            connection.cut()
        else:
            connection.turn_away(
                UnavailableError(f"Expected at most {self._most:,} connections at once; try again later.")
            )

    def leave(self, connection: Connection) -> None:
        """Let a connection go."""
        self._open.discard(connection)
        if not self._open:
            self._empty.set()

    def _look(self) -> None:
        """Look at all deadlines."""
        self._timer = self.loop.call_later(self._every, self._look)
        self._tick()
        now = self.loop.time()
        for connection in tuple(self._open):
            if connection.deadline < now:
                connection.expire()


def _free_files() -> int:
    """How many connections the process has descriptors for, having asked for more."""
    if os.name == "nt":
        return 1 << 20
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and (hard == resource.RLIM_INFINITY or soft < hard):
        wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
            soft = max(soft, wanted)
    return 1 << 20 if soft == resource.RLIM_INFINITY else max(8, soft - _RESERVED_FILES)

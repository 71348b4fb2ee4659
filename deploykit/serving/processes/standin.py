"""Answers in place of workers that cannot: a thread of the parent with an event loop of its own.

While no worker that shares a listening socket lives up to it, the stand-in accepts there. It answers health truthfully;
any other connection is kept, unread, until a worker can have it, and is then handed over. Where the server speaks TLS,
the stand-in does as well: to see what is asked for it must shake hands, so it keeps the TLS of such a connection and
passes on what comes through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.serving.processes.pulse import PLAIN, RAW

if TYPE_CHECKING:
    import ssl

    from deploykit.core.settings.limits import ServerLimits

#: Longest first line of a question about health that is understood.
_LINE_BYTES = 256
#: How often a connection is looked at whose first line comes in pieces.
_PIECE_SECONDS = 0.02
_CHUNK = 1 << 16
#: Protocols that answers are counted for: that of health, and that of requests that were not read.
_HEALTH, _UNREAD = "rest_v2", "http"
_BUSY = "No worker can answer now: they are busy, or being replaced; try again."


class StandIn:
    """Stands in for workers.

    Args:
        limits: The server's limits.
        tls: What it shakes hands with, None without TLS.
        ready: Whether the server takes requests, and the reason if it does not.
        count: Counts an answer: the protocol's name, and the status.
    """

    def __init__(
        self,
        limits: ServerLimits,
        tls: ssl.SSLContext | None,
        ready: Callable[[], tuple[bool, str]],
        count: Callable[[str, int], None] = lambda _, __: None,
    ) -> None:
        self._limits = limits
        self._tls = tls
        self._ready = ready
        self._count = count
        self._accepting: set[socket.socket] = set()
        #: Connections whose requests have not been read, and what looks after them.
        self._unread: dict[socket.socket, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        #: Where connections can be handed over, in turn.
        self._ways: list[socket.socket] = []
        self._way_there = asyncio.Event()
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop
        self._running = threading.Event()
        self._thread = threading.Thread(target=self._run, name="deploykit-stand-in", daemon=True)
        self._thread.start()
        self._running.wait()

    # -- what the parent calls -----------------------------------------------------------------------------------------

    def follow(self, accept: Sequence[socket.socket], ways: Sequence[socket.socket]) -> None:
        """Accept on these sockets from now on, and hand over to the workers at the other ends of those.

        Args:
            accept: Listening sockets that no worker lives up to.
            ways: Sockets to workers that can take connections.
        """
        self._ask(self._follow, list(accept), list(ways))

    @property
    def engaged(self) -> bool:
        """Whether it has something to do, or connections to hand over."""
        return bool(self._accepting or self._tasks)

    def settle(self, ways: Sequence[socket.socket]) -> None:
        """Accept no more; hand over what there is, or say that there will be no answer. Returns when that is done."""
        self._ask(self._settle, list(ways))

    def close(self) -> None:
        """End: what still goes through it is cut."""
        with contextlib.suppress(RuntimeError):  # it has ended
            asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        self._thread.join()

    # -- its own thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._loop = asyncio.new_event_loop()  # here, where no signal interrupts it
        self._loop.call_soon(self._running.set)
        self._loop.run_forever()
        self._loop.close()

    def _ask(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call a function in the event loop, and wait until it has returned."""

        async def call() -> None:
            function(*arguments)

        asyncio.run_coroutine_threadsafe(call(), self._loop).result()

    async def _end(self) -> None:
        self._settle([])
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._loop.stop()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _follow(self, accept: list[socket.socket], ways: list[socket.socket]) -> None:
        if self._stopping:
            return
        for listener in self._accepting.difference(accept):
            self._loop.remove_reader(listener.fileno())
        for listener in set(accept).difference(self._accepting):
            listener.setblocking(False)
            self._loop.add_reader(listener.fileno(), self._accept, listener)
        self._accepting = set(accept)
        self._ways = ways
        if ways:
            self._way_there.set()
            self._hand_over_all()
        else:
            self._way_there.clear()

    def _settle(self, ways: list[socket.socket]) -> None:
        for listener in self._accepting:
            with contextlib.suppress(OSError, ValueError):
                self._loop.remove_reader(listener.fileno())
        self._accepting.clear()
        self._stopping = True
        self._ways = ways
        self._hand_over_all()
        for connection, task in list(self._unread.items()):
            task.cancel()
            del self._unread[connection]
            self._say_goodbye(connection, _UNREAD, 503, "The server is shutting down.")
        self._way_there.set()

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError:  # there are too many: not again before the next look
            self._accepting.discard(listener)
            self._loop.remove_reader(listener.fileno())
            return
        connection.setblocking(False)
        if self._ways and self._hand_over(connection, RAW):
            return
        if len(self._tasks) >= self._limits.connections:
            self._say_goodbye(connection, _UNREAD, 503, _BUSY)
        elif self._tls is None:
            self._unread[connection] = self._start(self._look_after(connection))
        else:
            self._start(self._secured(connection, self._tls))

    def _hand_over_all(self) -> None:
        for connection, task in list(self._unread.items()):
            if not self._hand_over(connection, RAW):
                return
            task.cancel()
            del self._unread[connection]

    def _hand_over(self, connection: socket.socket, how: bytes) -> bool:
        """Give a connection to a worker; whether one has it."""
        for _ in range(len(self._ways)):
            way = self._ways.pop(0)
            self._ways.append(way)
            with contextlib.suppress(OSError):  # it has ended, or is full: the next one, or later
                socket.send_fds(way, [how], [connection.fileno()], socket.MSG_DONTWAIT)
                connection.close()
                return True
        return False

    # -- connections ---------------------------------------------------------------------------------------------------

    async def _look_after(self, connection: socket.socket) -> None:
        """Answer a question about health; keep any other connection until it is handed over, or its time is over."""
        line = b""
        with contextlib.suppress(OSError):  # the time is over, or the client is gone
            async with asyncio.timeout(self._limits.header_seconds):
                line = await self._first_line(connection)
        protocol, health = _HEALTH, self._health(line)
        if health is None and line:
            await asyncio.sleep(self._limits.answer_seconds)
            protocol, health = _UNREAD, (504, f"The answer was not ready within {self._limits.answer_seconds:g} s.")
        del self._unread[connection]
        if health is None:  # nothing has come, or the client is gone
            connection.close()
            return
        with contextlib.suppress(OSError):
            connection.recv(_CHUNK)  # unread bytes would make closing a reset
        self._say_goodbye(connection, protocol, *health, head_only=line.startswith(b"HEAD"))

    async def _first_line(self, connection: socket.socket) -> bytes:
        """The first line, left in the connection, or as much of it as is looked at; b"" when the client is gone."""
        while True:
            try:
                data = connection.recv(_LINE_BYTES, socket.MSG_PEEK)
            except BlockingIOError:
                arrived = self._loop.create_future()
                self._loop.add_reader(connection.fileno(), _set, arrived)
                try:
                    await arrived
                finally:
                    self._loop.remove_reader(connection.fileno())
                continue
            if not data or b"\n" in data or len(data) == _LINE_BYTES:
                return data.partition(b"\n")[0]
            await asyncio.sleep(_PIECE_SECONDS)

    def _health(self, line: bytes) -> tuple[int, str] | None:
        """Status and words for a question about health, None if it is none."""
        method, _, rest = line.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0].rstrip(b"/").lower()
        if method not in (b"GET", b"HEAD"):
            return None
        if path == b"/v2/health/live":
            return 200, '{"live":true}'
        if path == b"/v2/health/ready":
            ready, reason = self._ready()
            return (200, '{"ready":true}') if ready else (503, reason)
        return None

    def _say_goodbye(
        self, connection: socket.socket, protocol: str, status: int, words: str, *, head_only: bool = False
    ) -> None:
        """Answer and close, without waiting."""
        self._count(protocol, status)
        with contextlib.suppress(OSError):
            connection.send(_answer(status, words, head_only=head_only))
            connection.shutdown(socket.SHUT_WR)
        connection.close()

    async def _secured(self, connection: socket.socket, tls: ssl.SSLContext) -> None:
        """Shake hands, then the same; what is handed over is passed on in both directions."""
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        seconds = self._limits.header_seconds
        writer: asyncio.StreamWriter | None = None
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=tls, ssl_handshake_timeout=seconds
            )
            writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
            line = await asyncio.wait_for(reader.readuntil(b"\n"), seconds)
            counted, health = _HEALTH, self._health(line.rstrip())
            if health is None:
                counted, health = _UNREAD, await self._pass_on(line, reader, writer)
            if health is not None:
                self._count(counted, health[0])
                writer.write(_answer(*health, head_only=line.startswith(b"HEAD")))
                await asyncio.wait_for(writer.drain(), seconds)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            pass  # its client's affair
        finally:
            if writer is None:
                connection.close()
            else:
                writer.close()

    async def _pass_on(
        self, start: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[int, str] | None:
        """Pass a connection through to a worker as soon as one can have it; a status and words if none can."""
        seconds = self._limits.answer_seconds
        ours, theirs = socket.socketpair()
        try:
            async with asyncio.timeout(seconds):
                while not self._hand_over(theirs, PLAIN):
                    if self._stopping:
                        return 503, "The server is shutting down."
                    self._way_there.clear()
                    await self._way_there.wait()
        except TimeoutError:
            return 504, f"The answer was not ready within {seconds:g} s."
        finally:
            if theirs.fileno() >= 0:
                ours.close()
                theirs.close()
        ours.setblocking(False)
        inner_reader, inner_writer = await asyncio.open_connection(sock=ours)
        try:
            inner_writer.write(start)
            forth = asyncio.ensure_future(_pump(reader, inner_writer))
            try:
                await _pump(inner_reader, writer)  # the worker closes when it has no more to say
            finally:
                forth.cancel()
                await asyncio.gather(forth, return_exceptions=True)
        finally:
            inner_writer.close()
        return None


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


def _answer(status: int, words: str, *, head_only: bool = False) -> bytes:
    """An answer that closes its connection; words other than those of success are an error."""
    from http import HTTPStatus

    from deploykit.core.serial import dump

    body = words.encode() if status == 200 else dump({"error": words})
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n{'retry-after: 1' + chr(13) + chr(10) if status == 503 else ''}"
        "connection: close\r\n\r\n"
    )
    return head.encode() + (b"" if head_only else body)

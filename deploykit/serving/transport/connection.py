"""One connection of the HTTP server: requests out of bytes, one after the other, answers into bytes.

A connection works on one request at a time; what a client sends ahead waits, within a bound. Each state has a deadline
that its server looks at, so that a request costs no timer.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import socket
from typing import TYPE_CHECKING, Protocol, cast

from deploykit.serving.faults import DeadlineError, ExpiredError, Fault, OverloadError, TooLargeError
from deploykit.serving.transport.answers import start_of
from deploykit.serving.transport.bodies import Chunks
from deploykit.serving.transport.heads import Head
from deploykit.serving.wires._contract import Response

if TYPE_CHECKING:
    from deploykit.core.settings.limits import ServerLimits
    from deploykit.serving.transport.heads import Heads
    from deploykit.serving.transport.http import App
    from deploykit.serving.transport.lane import Ride

#: Time and bytes that a client has to read a last answer, and to stop sending, before its connection is cut.
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 1 << 30
#: Largest head that a connection remembers, bytes.
_MOST_REMEMBERED = 2048
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class State(enum.Enum):
    """What a connection is doing."""

    FRESH = "waits for its first request"
    IDLE = "waits for a further request"
    HEAD = "receives a head"
    BODY = "receives a body"
    BUSY = "waits for an answer"
    WRITING = "waits for the client to read"
    ENDING = "waits for the client to close"


class Owner(Protocol):
    """The server that connections belong to.

    Attributes:
        app: What answers.
        heads: What parses heads.
        limits: Limits of the server.
        loop: The event loop.
        held: Bytes of requests in memory.
    """

    app: App
    heads: Heads
    limits: ServerLimits
    loop: asyncio.AbstractEventLoop
    held: int

    @property
    def draining(self) -> bool:
        """Whether connections end with their next answer."""

    def join(self, connection: Connection) -> None:
        """Take a connection in."""

    def leave(self, connection: Connection) -> None:
        """Let a connection go."""


class Connection(asyncio.Protocol):
    """One connection.

    Args:
        server: The server it belongs to.

    Attributes:
        state: What it is doing.
        deadline: When that must be over, in the loop's time.
        since: When it came into that state.
    """

    __slots__ = (
        "_ahead", "_begins", "_body", "_dropped", "_head", "_held", "_last", "_paused", "_server", "_task",
        "_transport", "_unsent", "deadline", "since", "state",
    )  # fmt: skip

    def __init__(self, server: Owner) -> None:
        self._server = server
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._ahead = b""
        self._head: Head | None = None
        #: The head of the last request with the empty line behind it, as the next one mostly begins, and its meaning.
        self._begins, self._last = b"\r\n\r\n", cast("Head", None)
        self._body: bytearray | Chunks | None = None
        self._task: asyncio.Task[None] | Ride | None = None
        self._held = 0
        self._dropped = 0
        self._unsent = 0
        self._paused = False
        self.state = State.FRESH
        self.deadline = self.since = 0.0

    # -- what the loop calls -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the server, or hear that it is full."""
        self._transport = cast("asyncio.Transport", transport)
        self._enter(State.FRESH, self._server.limits.header_seconds)
        self._server.join(self)

    def connection_lost(self, _: Exception | None) -> None:
        """Leave; whatever is still to be run for it is not run."""
        self._give_up()
        self._hold(-self._held)
        self._server.leave(self)

    def eof_received(self) -> bool:
        """The client sends no more: as when it is gone, a request that has not been answered is given up."""
        self._give_up()
        return False

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        if self.state is State.ENDING:
            self._dropped += len(data)
            if self._dropped > _LINGER_BYTES:
                self._transport.abort()
        elif self._task is not None or self.state is State.WRITING:
            self._ahead += data
            self._hold(len(data))
            if not self._paused:  # one packet ahead is enough
                self._paused = True
                self._transport.pause_reading()
        else:
            try:
                if self._head is None:
                    self._take_head(data)
                else:
                    self._take_body(data)
            except Fault as fault:
                self._refuse(fault)

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered."""
        if self.state is not State.ENDING:
            self._wait_for_reader(State.WRITING)

    def resume_writing(self) -> None:
        """It has read."""
        if self.state is State.WRITING:
            self._proceed()

    # -- requests ------------------------------------------------------------------------------------------------------

    def _take_head(self, data: bytes) -> None:
        if self._ahead:
            data, self._ahead = self._ahead + data, b""
        if data[0] in b"\r\n":  # an empty line before a request is passed over
            data = data.lstrip(b"\r\n")
        if data.startswith(self._begins):
            start, head = len(self._begins), self._last
        else:
            start = data.find(b"\r\n\r\n") + 4
            if start < 4:
                self._ahead = data
                self._hold(len(data) - self._held)
                if data and self.state is not State.HEAD:
                    self._enter(State.HEAD, self._server.limits.header_seconds)
                if data:
                    self._server.heads.check_start(data)
                return
            head = self._server.heads.parse(data[: start - 4])
            if start <= _MOST_REMEMBERED:
                self._begins, self._last = data[:start], head
        self._head = head
        if head.length == len(data) - start:  # as nearly all are: in one packet
            self._run(head, data[start:])
        else:
            self._begin_body(head, data[start:])

    def _begin_body(self, head: Head, data: bytes) -> None:
        """A body that has not come whole, or has more behind it."""
        server, length = self._server, head.length
        limit = server.limits.request_bytes
        if length is not None and length <= len(data):
            self._ahead = data[length:]
            self._run(head, data[:length])
            return
        server.app.check(head)
        if length is not None and length > limit:
            raise TooLargeError(f"{length:,}", limit, close=True)
        self._check_room(length or 0)
        self._enter(State.BODY, server.limits.request_seconds)
        if head.waits and not data:
            self._transport.write(_CONTINUE)
        self._body = Chunks(limit) if length is None else bytearray()
        if data:
            self._take_body(data)

    def _take_body(self, data: bytes) -> None:
        head, body = self._head, self._body
        assert head is not None
        assert body is not None
        self._hold(len(data))
        self._check_room()
        if isinstance(body, Chunks):
            self._ahead = body.feed(data)
            if body.done:
                self._run(head, body.body())
            return
        left = cast("int", head.length) - len(body)
        body += data[:left] if len(data) > left else data
        if len(data) >= left:
            self._ahead = data[left:]
            self._run(head, bytes(body))

    def _run(self, head: Head, body: bytes) -> None:
        self._body = None
        server, size = self._server, len(body)
        limits = server.limits
        held = size + len(self._ahead)
        server.held += held - self._held
        self._held = held
        if server.held > limits.held_bytes:
            self._check_room()
        if size > limits.request_bytes:
            raise TooLargeError(f"{size:,}", limits.request_bytes, close=True)
        self._enter(State.BUSY, limits.answer_seconds)
        self._task = server.app.ride(head, body, self)
        if self._task is None:
            self.again(head, body)

    def again(self, head: Head, body: bytes) -> None:
        """Have a request answered the usual way."""
        self._task = self._server.loop.create_task(self._answer(head, body))

    def answered(self, head: Head, response: Response) -> None:
        """Take the answer to the request in progress."""
        self._task = None
        self._write(head, response, close=not head.keep_alive or self._server.draining)

    async def _answer(self, head: Head, body: bytes) -> None:
        response = await self._server.app.answer(head, body)
        del body  # or it would be held until the next request
        self.answered(head, response)

    # -- answers -------------------------------------------------------------------------------------------------------

    def _write(self, head: Head | None, response: Response, *, close: bool) -> None:
        """Write an answer, and turn to the next request."""
        body = response.body
        text = start_of(head, response, close=close)
        self._head = None
        held = len(self._ahead)
        self._server.held += held - self._held
        self._held = held
        self.state = State.IDLE  # writing may lead to another one
        if head is not None and head.method == "HEAD":
            self._transport.write(text)
        elif len(body) < 1 << 16:
            self._transport.write(text + body)
        else:
            self._transport.write(text)
            self._transport.write(body)
        if close:
            self._end()
        elif self.state is not State.IDLE:
            return
        elif self._ahead or self._paused:
            self._proceed()
        else:
            self._enter(State.IDLE, self._server.limits.idle_seconds)

    def _proceed(self) -> None:
        """Turn to what has come meanwhile."""
        if self._transport.is_closing():
            return
        self._enter(State.IDLE, self._server.limits.idle_seconds)
        if self._ahead:
            self._server.loop.call_soon(self._take_ahead)
        elif self._paused:
            self._resume()

    def _take_ahead(self) -> None:
        if self.state is not State.IDLE or self._transport.is_closing():
            return
        self._resume()
        data, self._ahead = self._ahead, b""
        self._hold(-len(data))
        self.data_received(data)

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def _refuse(self, fault: Fault) -> None:
        """Answer a request that is not read to its end: the connection is of no use afterwards."""
        head, unread, self._body, self._ahead = self._head, self.state is State.BODY, None, b""
        self._write(head, self._server.app.refuse(head, fault), close=True)
        if unread and self.state is State.ENDING:  # a client that sends all before it reads
            self.deadline = self.since + self._server.limits.request_seconds

    def _end(self) -> None:
        """Close when the client has read the answer: closing while it still sends would take the answer from it."""
        if self._transport.is_closing():
            return
        self._ahead = b""
        self._wait_for_reader(State.ENDING)
        self._resume()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    # -- what the server calls -----------------------------------------------------------------------------------------

    def expire(self) -> None:
        """The deadline has passed."""
        limits = self._server.limits
        if self.state in (State.FRESH, State.HEAD):
            self._refuse(DeadlineError(f"Expected a request within {limits.header_seconds:g} s."))
        elif self.state is State.BODY:
            self._refuse(DeadlineError(f"The body did not arrive within {limits.request_seconds:g} s."))
        elif self.state is State.BUSY:
            self._cancel()
            self._refuse(ExpiredError(f"The answer was not ready within {limits.answer_seconds:g} s."))
        elif self.state is State.IDLE:
            self._transport.close()
        elif 0 < self._transport.get_write_buffer_size() < self._unsent:
            self._wait_for_reader(self.state)  # slow, but it reads
        else:
            self._transport.abort()

    def last_words(self, late: Fault, lost: Fault) -> None:
        """Say, from another thread while the loop stands still, that there will be no answer; see the server's.

        Without TLS alone: what else encrypts belongs to the loop.
        """
        transport, busy = self._transport, self.state is State.BUSY
        if self.state is State.ENDING or transport.get_write_buffer_size() or transport.get_extra_info("sslcontext"):
            return
        sock = transport.get_extra_info("socket")
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(sock.fileno())) as own:
            unread = False
            with contextlib.suppress(BlockingIOError):  # bytes that are not read would make the end a reset
                unread = bool(own.recv(1 << 20))
            if busy or unread:
                response = self._server.app.refuse(self._head, late if busy else lost)
                own.send(start_of(self._head, response, close=True) + response.body)
            own.shutdown(socket.SHUT_WR)

    def turn_away(self, fault: Fault) -> None:
        """Answer with a fault and close: there is no room."""
        self._refuse(fault)

    def close(self) -> None:
        """Close without an answer."""
        self._transport.close()

    def cut(self) -> None:
        """Close at once."""
        self._transport.abort()

    @property
    def waits(self) -> bool:
        """Whether it waits for the client alone, with nothing of a further request."""
        return self.state is State.IDLE and not self._ahead

    @property
    def flushed(self) -> bool:
        """Whether the client has all of its last answer."""
        return self.state is State.ENDING and not self._transport.get_write_buffer_size()

    def _give_up(self) -> None:
        """Whatever is still to be run is not run."""
        if self._task is not None:
            self._cancel()
            self._server.app.given_up(self._head)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _enter(self, state: State, seconds: float) -> None:
        self.state = state
        self.since = now = self._server.loop.time()
        self.deadline = now + seconds

    def _wait_for_reader(self, state: State) -> None:
        self._unsent = self._transport.get_write_buffer_size()
        self._enter(state, self._server.limits.write_seconds if self._unsent else _LINGER_SECONDS)

    def _hold(self, more: int) -> None:
        """Count bytes in memory."""
        self._held += more
        self._server.held += more

    def _check_room(self, coming: int = 0) -> None:
        """Raise an `OverloadError` unless there is room for what has come, and is coming, beside the others'."""
        held, limit = self._server.held + coming, self._server.limits.held_bytes
        if held > limit and held > self._held + coming:
            raise OverloadError(
                f"Expected requests of at most {limit:,} bytes together, got {held:,}; try again later."
            )

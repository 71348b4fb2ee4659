"""Sends requests to a server, as cheaply as Python can: ``python -m deploykit.serving.tuning.load [CORE]``.

A process of its own, so that it does not take turns with the process that tunes. It reads orders from standard input,
a line of JSON each, and answers each with one line. The first order has the requests; those after it open connections
and send requests over them, the next one of each when its answer is there.
"""

from __future__ import annotations

import array
import asyncio
import base64
import collections
import contextlib
import os
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from deploykit.core.serial import dump, parse
from deploykit.serving.processes.worker import new_loop

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)")
#: Most bytes of an answer that says what went wrong.
_SHOWN = 300
#: Connections of requests that do not wait for each other, and how many may be due besides.
_CONNECTIONS, _MOST_WAITING = 64, 20_000
#: How long answers are waited for at the end.
_PATIENCE_S = 10.0


def main() -> None:
    """Follow orders until standard input closes."""
    if len(sys.argv) > 1:
        with contextlib.suppress(OSError):  # the core was taken away from this process
            os.sched_setaffinity(0, {int(sys.argv[1])})
    requests = [base64.b64decode(request) for request in parse(sys.stdin.buffer.readline())]
    loop = new_loop()
    for line in sys.stdin.buffer:
        try:
            order = parse(line)
            answer = loop.run_until_complete((arrive if "rate" in order else drive)(requests, **order))
        except Exception as error:
            answer = {"error": " ".join(str(error).split()) or type(error).__name__}
        sys.stdout.buffer.write(dump(answer) + b"\n")
        sys.stdout.buffer.flush()


async def drive(
    requests: list[bytes], host: str, port: int, connections: int, first: int, settle: float, seconds: float
) -> dict[str, Any]:
    """Send requests for some time.

    Args:
        requests: Whole requests, sent in turns.
        host: Address of the server.
        port: Its port.
        connections: How many there are at once.
        first: Number of the first connection; each begins with another request.
        settle: Time before measuring begins.
        seconds: Time that is measured; of a slow model, each connection has one request at least.

    Returns:
        ``sent``: all requests; ``times``: those of the requests that began while it was measured, 32-bit floats in
        base64, seconds; ``cpu``: share of a core that this process took.
    """
    loop = asyncio.get_running_loop()
    begin = time.monotonic() + settle
    opened = [
        _Connection(requests, first + i, begin, begin + seconds, loop.create_future()) for i in range(connections)
    ]
    cpu, clock = time.process_time(), time.monotonic()
    try:
        for connection in opened:
            await loop.create_connection(partial(_same, connection), host, port)
        found = await asyncio.gather(*(connection.done for connection in opened))
    finally:
        for connection in opened:
            connection.close()
    cpu, clock = time.process_time() - cpu, time.monotonic() - clock
    times = array.array("f")
    for part, _ in found:
        times.extend(part)
    return {
        "sent": sum(sent for _, sent in found),
        "times": base64.b64encode(times.tobytes()).decode(),
        "cpu": cpu / clock,
    }


async def arrive(
    requests: list[bytes], host: str, port: int, rate: float, seed: int, settle: float, seconds: float
) -> dict[str, Any]:
    """Send requests at random times (a Poisson process), whether or not earlier ones are answered.

    It takes a whole core: timers are too coarse for times that are microseconds apart.

    Args:
        requests: Whole requests, sent in turns.
        host: Address of the server.
        port: Its port.
        rate: Requests a second.
        seed: Of the times.
        settle: Time before measuring begins.
        seconds: Time that is measured.

    Returns:
        As of `drive`. A time counts from when a request was due, so that none is left out because the sender was late.

    Raises:
        RuntimeError: The server refuses a request, or so many wait that no connection is left.
    """
    loop = asyncio.get_running_loop()
    random = Random(seed)
    idle: list[_Call] = []
    every: set[_Call] = set()
    opening: set[asyncio.Task[Any]] = set()
    waiting: collections.deque[float] = collections.deque()
    times = array.array("f")
    failed: list[str] = []
    begin = time.monotonic() + settle
    end = begin + seconds
    sent = 0

    def free(call: _Call) -> None:
        if waiting:
            call.send(requests[sent % len(requests)], waiting.popleft())
        else:
            idle.append(call)

    def answered(call: _Call, due: float) -> None:
        if begin <= due < end:
            times.append(time.monotonic() - due)
        free(call)

    def lost(call: _Call) -> None:  # a server closes connections that are not used
        every.discard(call)
        if call in idle:
            idle.remove(call)

    async def more() -> None:
        call = _Call(answered, lost, failed.append)
        every.add(call)
        try:
            await loop.create_connection(partial(_itself, call), host, port)
        except OSError as error:
            failed.append(str(error))
        else:
            free(call)

    cpu, clock = time.process_time(), time.monotonic()
    try:
        due = time.monotonic()
        while due < end and not failed:
            if time.monotonic() < due:
                await asyncio.sleep(0)
                continue
            if idle:
                idle.pop().send(requests[sent % len(requests)], due)
            elif len(waiting) < _MOST_WAITING:
                waiting.append(due)
                if len(every) < _CONNECTIONS:
                    opening.add(task := asyncio.ensure_future(more()))
                    task.add_done_callback(opening.discard)
            else:
                raise RuntimeError(f"{_MOST_WAITING:,} requests wait: the server cannot do {rate:,.0f} a second")
            sent += 1
            due += random.expovariate(rate)
        while (opening or waiting or len(idle) < len(every)) and not failed:
            if time.monotonic() > end + _PATIENCE_S:
                raise RuntimeError(f"no answer within {_PATIENCE_S:g} s")
            await asyncio.sleep(0.001)
    finally:
        for call in [*every]:
            call.close()
    if failed:
        raise RuntimeError(failed[0])
    cpu, clock = time.process_time() - cpu, time.monotonic() - clock
    return {"sent": sent, "times": base64.b64encode(times.tobytes()).decode(), "cpu": cpu / clock}


class _Call(asyncio.Protocol):
    """A connection with one request at a time."""

    def __init__(
        self, answered: Callable[[_Call, float], None], lost: Callable[[_Call], None], failed: Callable[[str], None]
    ) -> None:
        self._answered, self._lost, self._failed = answered, lost, failed
        self._transport: Any = None
        self._due = 0.0
        self._answer = b""
        self._busy = self._closed = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def send(self, request: bytes, due: float) -> None:
        self._due, self._busy = due, True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if not self._busy:  # that it was not used for too long
            return
        self._answer = answer = self._answer + data if self._answer else data
        if not (length := _whole(answer)):
            return
        if b" 200 " not in answer[:20]:
            self._failed(answer[9:12].decode("latin-1") + " " + answer[length:][:_SHOWN].decode(errors="replace"))
        self._answer, self._busy = b"", False
        self._answered(self, self._due)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._busy:
            self._lost(self)
        elif not self._closed:
            self._failed(f"the connection was closed: {error or 'without an answer'}")

    def close(self) -> None:
        self._closed = True
        if self._transport is not None:
            self._transport.close()


def _whole(answer: bytes) -> int:
    """Length of the head of an answer that is all there; 0 if it is not."""
    head = answer.find(b"\r\n\r\n")
    if head < 0:
        return 0
    length = _LENGTH.search(answer, 0, head)
    return head + 4 if length and len(answer) >= head + 4 + int(length[1]) else 0


def _itself(call: _Call) -> _Call:
    return call


def _same(connection: _Connection) -> _Connection:
    return connection


class _Connection(asyncio.Protocol):
    """Does no more than it must: its time is taken from the server where there are few cores."""

    def __init__(self, requests: list[bytes], number: int, begin: float, end: float, done: asyncio.Future[Any]) -> None:
        self.done = done
        self._requests, self._number, self._begin, self._end = requests, number, begin, end
        self._transport: Any = None
        self._times: list[float] = []
        self._sent = 0
        self._answer = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._began = time.monotonic()
        if self._began >= self._end and (self._times or not self._end):
            self.done.set_result((self._times, self._sent))
            self.close()
            return
        self._transport.write(self._requests[(self._number + self._sent) % len(self._requests)])
        self._sent += 1

    def data_received(self, data: bytes) -> None:
        self._answer = answer = self._answer + data if self._answer else data
        if not (length := _whole(answer)):
            return
        if b" 200 " not in answer[:20]:
            self._fail(answer[9:12].decode("latin-1") + " " + answer[length:][:_SHOWN].decode(errors="replace"))
            return
        self._answer = b""
        if self._began >= self._begin:
            self._times.append(time.monotonic() - self._began)
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(f"the connection was closed: {error or 'without an answer'}")

    def _fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(why))
        self.close()

    def close(self) -> None:
        self._end = 0.0
        self.done.cancel()
        if self._transport is not None:
            self._transport.close()


if __name__ == "__main__":
    main()

"""Sends requests to a server, as cheaply as Python can: ``python -m deploykit.serving.tuning.load [CORE]``.

A process of its own, so that it does not take turns with the process that tunes. It reads orders from standard input,
a line of JSON each, and answers each with one line. The first order has the requests; those after it open connections
and send requests over them, the next one of each when its answer is there.
"""

from __future__ import annotations

import array
import asyncio
import base64
import contextlib
import os
import re
import sys
import time
from functools import partial
from typing import Any

from deploykit.core.serial import dump, parse
from deploykit.serving.processes.worker import new_loop

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)")
#: Most bytes of an answer that says what went wrong.
_SHOWN = 300


def main() -> None:
    """Follow orders until standard input closes."""
    if len(sys.argv) > 1:
        with contextlib.suppress(OSError):  # the core was taken away from this process
            os.sched_setaffinity(0, {int(sys.argv[1])})
    requests = [base64.b64decode(request) for request in parse(sys.stdin.buffer.readline())]
    loop = new_loop()
    for line in sys.stdin.buffer:
        try:
            answer = loop.run_until_complete(drive(requests, **parse(line)))
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
        head = answer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = _LENGTH.search(answer, 0, head)
        if length is None or len(answer) < head + 4 + int(length[1]):
            return
        if b" 200 " not in answer[:20]:
            self._fail(answer[9:12].decode("latin-1") + " " + answer[head + 4 :][:_SHOWN].decode(errors="replace"))
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

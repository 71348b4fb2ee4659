"""One worker process: ``python -m deploykit.serving.processes.worker MODULE…``.

It imports what it needs at once, then waits on standard input for one line: what to serve, sent when a child process
has proved the artifacts. It answers on standard output with one line, ready or an error. Then lines go both ways, see
`Channel`: the parent says "go", so that no answer leaves before the parent is ready as well, then what to serve from
now on, or that readiness is over; the worker has its parent do what clients want done to the server. When standard
input closes the parent is gone or wants it to end: requests in progress are answered, then it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from deploykit.core import errors
from deploykit.core.extras import import_all
from deploykit.core.serial import parse
from deploykit.core.settings.limits import ServerLimits
from deploykit.serving.processes.lines import lines_of, say
from deploykit.serving.records.access import LINE

if TYPE_CHECKING:
    from deploykit.serving.service import Service
    from deploykit.serving.wires._contract import Stop


def main() -> None:
    """Serve until standard input closes."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent's to handle: it may be sent to all of its processes
        signal.signal(number, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print goes to the log
    logging.basicConfig(level=logging.WARNING, format=LINE)
    import_all(("numpy", "msgspec", "httptools", "uvloop", *sys.argv[1:]))
    line = sys.stdin.buffer.readline()
    if not line:
        return
    order = parse(line)
    channel = Channel(answers)
    status = 0
    try:
        service = _service(order, channel)
        new_loop().run_until_complete(_live(service, order, channel))
    except BaseException as error:
        logging.getLogger("deploykit.serving").exception("cannot serve")
        if not isinstance(error, errors.DeploykitError):
            error = errors.ServeError(f"{type(error).__name__}: {error}")
        channel.say({"error": errors.to_json(error)})
        status = 1
    logging.shutdown()
    os._exit(status)  # some runtimes crash while the interpreter is taken down


def _service(order: dict[str, Any], channel: Channel) -> Service:
    from deploykit.core.security.tokens import Token
    from deploykit.serving import traffic
    from deploykit.serving.health.suspects import Wary, suspects_file
    from deploykit.serving.health.vitals import Vitals, vitals_file
    from deploykit.serving.looking.tap import Taps
    from deploykit.serving.meter import Meter
    from deploykit.serving.protection.guard import Guard
    from deploykit.serving.protection.tls import Tls
    from deploykit.serving.records.settings import Recording
    from deploykit.serving.service import Service
    from deploykit.serving.traffic import Counters

    counters = meter = vitals = wary = None
    with contextlib.suppress(OSError, ValueError):  # gone, as when old temporary files were removed: serve uncounted
        counters = Counters(Path(order["counters"]), order["slot"])
        meter = Meter(traffic.meter_file(Path(order["counters"]), order["slot"]))
    with contextlib.suppress(OSError, ValueError):
        vitals = Vitals(vitals_file(Path(order["counters"]), order["slot"]))
        wary = Wary(suspects_file(Path(order["counters"])))
    guard = Guard(Path(order["tokens"]), map(Token.from_json, order["own"])) if order["tokens"] else None
    limits = ServerLimits.of(order["limits"])
    recording = Recording.from_json(order["recording"])
    recording.use_format()
    return Service(
        limits=limits,
        counters=counters,
        guard=guard,
        meter=meter,
        tls=Tls.from_json(order["tls"]) if order["tls"] else None,
        recorder=recording.recorder(limits.log_bytes),
        sockets=order["unix"],
        vitals=vitals,
        wary=wary,
        taps=Taps(lambda seen: channel.say({"seen": seen}), **order["monitor"]) if order["monitor"] else None,
    )


def new_loop() -> asyncio.AbstractEventLoop:
    """That of uvloop where there is one: it takes half the time for each request."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class Channel:
    """A worker's side of the pipes to its parent: lines of JSON. Questions belong to one event loop once it is `open`.

    Args:
        answers: Where to write.
    """

    def __init__(self, answers: IO[bytes]) -> None:
        self._answers = answers
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count()
        self._writing = threading.Lock()

    def say(self, message: Mapping[str, Any]) -> None:
        """Write a line; any thread may."""
        with self._writing:
            say(self._answers, message)

    async def ask(self, what: str, arguments: Mapping[str, Any]) -> Any:
        """Have the parent do something.

        Raises:
            DeploykitError: Why it did not.
        """
        number = next(self._numbers)
        self._asked[number] = answer = asyncio.get_running_loop().create_future()
        self.say({"ask": number, "what": what, "arguments": arguments})
        try:
            return await answer
        finally:
            del self._asked[number]

    def open(self, on_line: Callable[[dict[str, Any]], None], on_end: Callable[[], None]) -> None:
        """Call a function in the event loop for each line of the parent's but answers, and another at their end."""
        loop = asyncio.get_running_loop()

        def answered(line: dict[str, Any]) -> None:
            future = self._asked.get(line["reply"])
            if future is None or future.done():  # who asked is gone
                return
            if "error" in line:
                future.set_exception(errors.from_json(line["error"]))
            else:
                future.set_result(line.get("said"))

        def read() -> None:
            try:
                for line in lines_of(sys.stdin.buffer):
                    loop.call_soon_threadsafe(answered if "reply" in line else on_line, line)
            finally:
                loop.call_soon_threadsafe(on_end)

        threading.Thread(target=read, name="deploykit-parent", daemon=True).start()


async def _live(service: Service, order: dict[str, Any], channel: Channel) -> None:
    """Serve until the parent says that it is enough, or is gone.

    Raises:
        DeploykitError: A model cannot be served, or a protocol cannot start.
    """
    from deploykit.serving.processes.holder import Holder
    from deploykit.serving.processes.pulse import EXIT_STUCK, Pulse
    from deploykit.serving.transport.http_server import HTTPServer

    going, ended = asyncio.Event(), asyncio.Event()
    seconds = service.limits.drain_seconds
    holder = Holder(service)
    for failed in await holder.become(order["state"]):
        raise errors.from_json(failed["error"])
    changes: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def do(line: dict[str, Any]) -> None:
        if "drain" in line:
            service.draining = True
        elif "go" in line:
            going.set()
        elif "settle" in line:
            service.settle(**line["settle"])
        else:
            changes.put_nowait(line)

    def end() -> None:
        # A model that hangs must not outlive the server.
        threading.Timer(seconds + 2, os._exit, (EXIT_STUCK,)).start()
        ended.set()
        going.set()

    async def change() -> None:
        while True:
            line = await changes.get()
            failed = await holder.become(line["state"])
            if service.vitals is not None:
                service.vitals.loaded()
            channel.say({"became": line["number"], "failed": failed})

    tick = (lambda: None) if service.meter is None else service.meter.flush
    http = HTTPServer(service, order["hosts"], tick=tick)
    listener, tls = _listener("", order), None if service.tls is None else service.tls.context()
    stops = [await _start(name, service, order) for name in order["ports"]]
    service.control = channel.ask if order["control"] else None
    service.ask = channel.ask if order["monitor"] else None
    handover = socket.socket(fileno=order["handover"]) if "handover" in order else None
    pulse = Pulse(service.vitals, http, service.limits.answer_seconds, handover)
    channel.say({"ready": True})
    channel.open(do, end)
    changing = asyncio.create_task(change())
    await going.wait()
    if not ended.is_set():
        await http.start(listener, tls)
    await ended.wait()
    changing.cancel()
    service.draining = True
    pulse.end()
    ends = [asyncio.wait_for(stop(), seconds) for stop in stops]
    for problem in await asyncio.gather(http.drain(seconds), *ends, return_exceptions=True):
        if isinstance(problem, Exception):
            logging.getLogger("deploykit.serving").error("while ending: %r", problem)
    if service.recorder is not None:
        service.recorder.close()
    service.close()


async def _start(name: str, service: Service, order: dict[str, Any]) -> Stop:
    """Start a protocol on the socket that this process has inherited, or on one it opens itself.

    Raises:
        DeploykitError: It cannot start.
    """
    from deploykit.serving.wires._contract import WIRES

    listener = _listener(name, order)
    try:
        return await WIRES.get(name).start(service, listener)
    except errors.DeploykitError:
        raise
    except Exception as error:
        logging.getLogger("deploykit.serving").exception("cannot start %s", name)
        raise errors.ServeError(f"The protocol {name} cannot start: {type(error).__name__}: {error}") from error


def _listener(name: str, order: dict[str, Any]) -> socket.socket:
    """The socket of a protocol, that of HTTP by "": inherited, or opened where sockets are not inherited."""
    from deploykit.serving.transport.listen import listen

    descriptor = order["sockets"].get(name)
    if descriptor is not None:
        return socket.socket(fileno=descriptor)
    return listen(order["host"], order["ports"][name] if name else order["port"], 1)[0]


def log_file(folder: Path, port: int) -> Path:
    """Where the workers of a server write."""
    return folder / f"serve-{port}.log"


if __name__ == "__main__":
    main()

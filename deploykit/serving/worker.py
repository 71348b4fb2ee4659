"""One worker process: ``python -m deploykit.serving.worker MODULE…``.

It imports what it needs at once, then waits on standard input for one line: what to serve, sent when a child process
has proved the artifact. It answers on standard output with one line, ready or an error. A line "drain" ends readiness.
When standard input closes the parent is gone or wants it to end: requests in progress are answered, then it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Artifact
from deploykit.core import errors
from deploykit.core.serial import dump, parse
from deploykit.core.settings.limits import ServerLimits

if TYPE_CHECKING:
    from deploykit.serving.service import Service
    from deploykit.serving.wires._contract import Stop

#: What the parent says when requests are still welcome but readiness is over.
DRAIN = b"drain\n"
#: Exit status of a worker that had to be replaced.
EXIT_STUCK = 3


def main() -> None:
    """Serve until standard input closes."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent's to handle: it may be sent to all of its processes
        signal.signal(number, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print goes to the log
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for module in ("numpy", "msgspec", "httptools", "uvloop", *sys.argv[1:]):
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    line = sys.stdin.buffer.readline()
    if not line:
        return
    order = parse(line)
    try:
        service = _load(order)
    except BaseException as error:
        logging.getLogger("deploykit.serving").exception("cannot serve %s", order["artifact"])
        if not isinstance(error, errors.DeploykitError):
            error = errors.ServeError(f"{type(error).__name__}: {error}")
        _say(answers, {"error": errors.to_json(error)})
        sys.exit(1)
    _serve(service, order, answers)


def _load(order: dict[str, Any]) -> Service:
    from deploykit.core.tokens import Token
    from deploykit.serving import traffic
    from deploykit.serving.dataplane import DataPlane
    from deploykit.serving.guard import Guard
    from deploykit.serving.meter import Meter
    from deploykit.serving.service import Service
    from deploykit.serving.tls import Tls
    from deploykit.serving.traffic import Counters

    artifact = Artifact.open(order["artifact"])
    # Between the proof and now (or since, when this is a restart) someone may have exported to the same folder.
    if artifact.digest != order["digest"] or artifact.problems():
        raise errors.ServeError(
            f"{artifact.path} has changed since it was checked.", remedy="start the server again to check it."
        )
    counters = meter = None
    with contextlib.suppress(OSError, ValueError):  # gone, as when old temporary files were removed: serve uncounted
        counters = Counters(Path(order["counters"]), order["slot"])
        meter = Meter(traffic.meter_file(Path(order["counters"]), order["slot"]))
    guard = Guard(Path(order["tokens"]), map(Token.from_json, order["own"])) if order["tokens"] else None
    return Service(
        [DataPlane(artifact)],
        limits=ServerLimits.of(order["limits"]),
        counters=counters,
        guard=guard,
        meter=meter,
        tls=Tls.from_json(order["tls"]) if order["tls"] else None,
    )


def _serve(service: Service, order: dict[str, Any], answers: Any) -> None:
    try:
        _new_loop().run_until_complete(_live(service, order, answers))
    except errors.DeploykitError as error:  # a protocol could not start
        _say(answers, {"error": errors.to_json(error)})
    logging.shutdown()
    os._exit(0)  # some runtimes crash while the interpreter is taken down


def _new_loop() -> asyncio.AbstractEventLoop:
    """That of uvloop where there is one: it takes half the time for each request."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


async def _live(service: Service, order: dict[str, Any], answers: Any) -> None:
    """Serve until the parent says that it is enough, or is gone.

    Raises:
        DeploykitError: A protocol could not start.
    """
    from deploykit.serving.transport.http_server import HTTPServer

    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    seconds = service.limits.drain_seconds

    def drain() -> None:
        service.draining = True

    def watch() -> None:
        with contextlib.suppress(OSError, ValueError):
            while sys.stdin.buffer.readline() == DRAIN:
                loop.call_soon_threadsafe(drain)
        loop.call_soon_threadsafe(ended.set)
        # A model that hangs must not outlive the server.
        threading.Timer(seconds + 2, os._exit, (EXIT_STUCK,)).start()

    tick = (lambda: None) if service.meter is None else service.meter.flush
    http = HTTPServer(service, order["hosts"], tick=tick)
    await http.start(_listener("", order), None if service.tls is None else service.tls.context())
    stops = [await _start(name, service, order) for name in order["ports"]]
    _say(answers, {"ready": True})
    threading.Thread(target=watch, name="deploykit-parent", daemon=True).start()
    await ended.wait()
    service.draining = True
    ends = [asyncio.wait_for(stop(), seconds) for stop in stops]
    for problem in await asyncio.gather(http.drain(seconds), *ends, return_exceptions=True):
        if isinstance(problem, Exception):
            logging.getLogger("deploykit.serving").error("while ending: %r", problem)


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


def _say(answers: Any, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        answers.write(dump(message) + b"\n")
        answers.flush()


def log_file(folder: Path, port: int) -> Path:
    """Where the workers of a server write."""
    return folder / f"serve-{port}.log"


if __name__ == "__main__":
    main()

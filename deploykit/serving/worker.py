"""One worker process: ``python -m deploykit.serving.worker MODULE…``.

It imports what it needs at once, then waits on standard input for one line: what to serve, sent when a child process
has proved the artifact. It answers on standard output with one line, ready or an error. When standard input closes the
parent is gone or wants it to end: requests in progress are answered, then it ends.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Artifact
from deploykit.core import errors
from deploykit.core.serial import dump, parse

if TYPE_CHECKING:
    from deploykit.serving.service import Service
    from deploykit.serving.wires._contract import Stop

#: Time for requests in progress when the server goes down.
DRAIN_SECONDS = 10


def main() -> None:
    """Serve until standard input closes."""
    if hasattr(signal, "SIGINT"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print goes to the log
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for module in ("numpy", "msgspec", "uvicorn", "uvicorn.protocols.http.httptools_impl", "uvloop", *sys.argv[1:]):
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
    from deploykit.serving.dataplane import DataPlane
    from deploykit.serving.service import Service
    from deploykit.serving.traffic import Counters

    artifact = Artifact.open(order["artifact"])
    # Between the proof and now (or since, when this is a restart) someone may have exported to the same folder.
    if artifact.digest != order["digest"] or artifact.problems():
        raise errors.ServeError(
            f"{artifact.path} has changed since it was checked.", remedy="start the server again to check it."
        )
    counters = None
    with contextlib.suppress(OSError, ValueError):  # gone, as when old temporary files were removed: serve uncounted
        counters = Counters(Path(order["counters"]), order["slot"])
    return Service([DataPlane(artifact)], counters=counters)


def _serve(service: Service, order: dict[str, Any], answers: Any) -> None:
    import uvicorn

    from deploykit.serving.http import App

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            self._stops = [await _start(name, service, order) for name in order["ports"]]
            _say(answers, {"ready": True})

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            for stop in self._stops:
                await stop()
            await super().shutdown(sockets)

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            signal.signal(signal.SIGTERM, lambda *_: end())
            yield

    config = uvicorn.Config(
        App(service),
        host=order["host"],
        port=order["port"],
        http="httptools",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=1024,
        timeout_keep_alive=75,  # longer than the usual proxy's, so that no request meets a closing connection
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    server = Server(config)

    def end() -> None:
        service.draining = True
        server.should_exit = True

    def watch() -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stdin.buffer.read(1)
        end()
        # A model that hangs must not outlive the server.
        threading.Timer(DRAIN_SECONDS + 5, os._exit, (1,)).start()

    threading.Thread(target=watch, name="deploykit-parent", daemon=True).start()
    descriptor = order["sockets"].get("")
    try:
        server.run(None if descriptor is None else [socket.socket(fileno=descriptor)])
    except errors.DeploykitError as error:  # a protocol could not start
        _say(answers, {"error": errors.to_json(error)})
    logging.shutdown()
    os._exit(0)  # some runtimes crash while the interpreter is taken down


async def _start(name: str, service: Service, order: dict[str, Any]) -> Stop:
    """Start a protocol on the socket that this process has inherited, or on one it opens itself.

    Raises:
        DeploykitError: It cannot start.
    """
    from deploykit.serving.listen import listen
    from deploykit.serving.wires._contract import WIRES

    descriptor = order["sockets"].get(name)
    if descriptor is None:
        listener = listen(order["host"], order["ports"][name], 1)[0]
    else:
        listener = socket.socket(fileno=descriptor)
    try:
        return await WIRES.get(name).start(service, listener)
    except errors.DeploykitError:
        raise
    except Exception as error:
        logging.getLogger("deploykit.serving").exception("cannot start %s", name)
        raise errors.ServeError(f"The protocol {name} cannot start: {type(error).__name__}: {error}") from error


def _say(answers: Any, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        answers.write(dump(message) + b"\n")
        answers.flush()


def log_file(folder: Path, port: int) -> Path:
    """Where the workers of a server write."""
    return folder / f"serve-{port}.log"


if __name__ == "__main__":
    main()

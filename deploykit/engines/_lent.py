"""The worker's side of a connection that is a pair of pipes: requests come in on stdin, answers leave on stdout.

It ends, with all that runs, when the driver hangs up, or is silent for so long that the connection must be cut.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from deploykit.core.errors import DeploykitError, to_json
from deploykit.engines import _worker
from deploykit.engines._files import Shelf, default_shelf
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.wire import Wire

#: Drivers ping every few seconds.
_SILENCE_S = 60.0
_REPORT_S = 0.25
_THREADS = 32
_END_S = 5.0


def packed(value: Any) -> Any:
    """Bytes as text, since messages are JSON; anything else as it is."""
    return {"bytes": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def unpacked(value: Any) -> Any:
    """What `packed` was given."""
    return base64.b64decode(value["bytes"]) if isinstance(value, dict) and value.keys() == {"bytes"} else value


def serve() -> None:
    """Answer the driver at the other end of stdin and stdout until it is gone; then end this process."""
    reader, writer = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)  # what tasks print must not get between the messages
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    Shelf(default_shelf()).trim()
    _Serving(Wire(reader, writer)).run()


class _Serving:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._cancels: dict[str, threading.Event] = {}
        self._heard = time.monotonic()

    def run(self) -> None:
        threading.Thread(target=self._watch, name="deploykit-silence", daemon=True).start()
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="deploykit-lent")
        while True:
            try:
                message = self._wire.receive()
            except EOFError:
                self._end()
            self._heard = time.monotonic()
            if "cancel" in message:
                if cancel := self._cancels.get(message["cancel"]):
                    cancel.set()
                continue
            if message["function"] == "run_unit":  # before anything can cancel it
                self._cancels[message["id"]] = threading.Event()
            pool.submit(self._answer, message)

    def _watch(self) -> None:
        while time.monotonic() - self._heard < _SILENCE_S:
            time.sleep(1.0)
        self._end()

    def _end(self) -> None:
        """The driver is gone, so nothing that runs matters any more."""
        for cancel in list(self._cancels.values()):
            cancel.set()
        closing = threading.Thread(target=shared().close, daemon=True)
        closing.start()
        closing.join(_END_S)
        os._exit(0)

    def _answer(self, message: dict[str, Any]) -> None:
        try:
            answer = {"result": packed(self._result(message))}
        except DeploykitError as error:
            answer = {"error": to_json(error)}
        except Exception as error:  # the driver says what it was
            answer = {"fault": f"{type(error).__name__}: {error}"}
        finally:
            self._cancels.pop(message["id"], None)
        self._send({"id": message["id"], **answer})

    def _result(self, message: dict[str, Any]) -> Any:
        arguments = [unpacked(a) for a in message["arguments"]]
        if message["function"] == "run_unit":
            unit = _worker.Unit.from_json(arguments[0])
            return _worker.run_unit(unit, self._reporter(message["id"]), self._cancels[message["id"]])
        found = getattr(_worker, message["function"])(*arguments)
        return asyncio.run(found) if inspect.iscoroutine(found) else found

    def _reporter(self, name: str) -> Any:
        due = 0.0

        def report(done: float, total: float, words: str) -> None:
            nonlocal due
            if time.monotonic() >= due:
                due = time.monotonic() + _REPORT_S
                self._send({"id": name, "report": [done, total, words]})

        return report

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._wire.send(message)
        except OSError:
            self._end()

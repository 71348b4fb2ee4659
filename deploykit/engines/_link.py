"""The driver's side of a connection that is a pair of pipes: a process such as ``ssh`` carries them to a machine."""

from __future__ import annotations

import collections
import contextlib
import inspect
import json
import subprocess
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import Future
from typing import IO, Any, BinaryIO, cast

from deploykit._version import __version__
from deploykit.core.errors import from_json
from deploykit.engines import _bootstrap
from deploykit.engines._contract import OnReport
from deploykit.engines._lent import packed, unpacked
from deploykit.sandbox.wire import Wire

#: How much a login may say before the worker does.
_GREETING_BYTES = 1 << 18
_LAST_LINES = 40
_CLOSE_S = 5.0


class Unreachable(Exception):  # noqa: N818  what it means is for the engine to say
    """The process ended, or said nothing, before a worker was there.

    Attributes:
        status: Its exit status; None when it had to be ended.
        said: What it wrote to stderr.
    """

    def __init__(self, status: int | None, said: str) -> None:
        self.status = status
        self.said = said
        super().__init__(said)


class Link:
    """A worker at the other end of a process. Thread-safe.

    Args:
        command: The process; it runs a Python on the machine that executes what it reads up to a zero byte.
        timeout_s: How long that may take.
        serving: Whether a worker begins there; else it only says what is there, and ends.

    Attributes:
        found: What the bootstrap has found there, see `deploykit.engines._bootstrap`.
        heard: When a message came last, on the monotonic clock.

    Raises:
        Unreachable: There is no Python at the other end, or no way to it.
    """

    def __init__(self, command: Sequence[str], timeout_s: float, *, serving: bool = True) -> None:
        self._process = subprocess.Popen(  # noqa: S603  a program of the user's system
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the driver's to handle
        )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._said: collections.deque[str] = collections.deque(maxlen=_LAST_LINES)
        self._calls: dict[str, tuple[Future[Any], OnReport | None]] = {}
        self._lock = threading.Lock()
        self._ended = False
        self._listener = threading.Thread(
            target=self._overhear, args=(self._process.stderr,), name="deploykit-stderr", daemon=True
        )
        self._listener.start()
        timer = threading.Timer(timeout_s, self._process.kill)
        timer.start()
        try:
            self.found = self._greet(self._process.stdin, self._process.stdout, serving=serving)
        except (OSError, EOFError, ValueError):
            late = not timer.is_alive()
            self._hang_up()
            raise Unreachable(None if late else self._process.returncode, self.said) from None
        finally:
            timer.cancel()
        self.heard = time.monotonic()
        self._wire = Wire(cast("BinaryIO", self._process.stdout), cast("BinaryIO", self._process.stdin))
        threading.Thread(target=self._listen, name="deploykit-link", daemon=True).start()

    @property
    def said(self) -> str:
        """What the process wrote to stderr last."""
        return "\n".join(self._said)

    @property
    def ended(self) -> bool:
        """Whether nothing will be answered any more."""
        return self._ended

    def ask(self, function: str, *arguments: Any, on_report: OnReport | None = None) -> tuple[str, Future[Any]]:
        """Call a function of `deploykit.engines._worker`: the call's name, and its result.

        The future raises what the function raised, `RuntimeError` for what is not deploykit's, and `EOFError` when the
        connection ends before.
        """
        name, future = uuid.uuid4().hex, Future[Any]()
        with self._lock:
            if self._ended:
                future.set_exception(EOFError())
                return name, future
            self._calls[name] = (future, on_report)
        try:
            self._wire.send({"id": name, "function": function, "arguments": [packed(a) for a in arguments]})
        except (OSError, ValueError):
            self._end()
        return name, future

    def cancel(self, name: str) -> None:
        """End a call of ``run_unit``."""
        with contextlib.suppress(OSError, ValueError):
            self._wire.send({"cancel": name})

    def kill(self) -> None:
        """End the process of a connection that is stuck, in the middle of a message if need be."""
        self._process.kill()
        self._end()

    def close(self) -> None:
        """Hang up: whatever runs at the other end is ended."""
        self._end()
        self._hang_up()

    # -- threads ----------------------------------------------------------------------------------------------------

    def _greet(self, stdin: IO[bytes], stdout: IO[bytes], *, serving: bool) -> dict[str, Any]:
        """Send the bootstrap, and pass over what is said before it speaks."""
        stdin.write(f"{inspect.getsource(_bootstrap)}\nstart({__version__!r}, {serving})\n".encode() + b"\0")
        stdin.flush()
        left = _GREETING_BYTES
        while left > 0:
            if not (line := stdout.readline(left)):
                raise EOFError
            if line.startswith(_bootstrap.MARK):
                found: dict[str, Any] = json.loads(line[len(_bootstrap.MARK) :])
                return found
            left -= len(line)
        raise EOFError

    def _overhear(self, stderr: IO[bytes]) -> None:
        with contextlib.suppress(ValueError):  # it was closed
            for line in stderr:
                self._said.append(line.decode("utf-8", "replace").rstrip())

    def _listen(self) -> None:
        while True:
            try:
                message = self._wire.receive()
            except EOFError:
                self._end()
                return
            self.heard = time.monotonic()
            with self._lock:
                future, on_report = self._calls.get(message["id"], (None, None))
                if "report" not in message:
                    self._calls.pop(message["id"], None)
            if future is None:
                continue
            if "report" in message:
                if on_report is not None:
                    on_report(*message["report"])
            elif not future.set_running_or_notify_cancel():
                continue
            elif "error" in message:
                future.set_exception(from_json(message["error"]))
            elif "fault" in message:
                future.set_exception(RuntimeError(message["fault"]))
            else:
                future.set_result(unpacked(message["result"]))

    def _end(self) -> None:
        with self._lock:
            self._ended = True
            calls, self._calls = self._calls, {}
        for future, _ in calls.values():
            if future.set_running_or_notify_cancel():
                future.set_exception(EOFError())

    def _hang_up(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                if stream is self._process.stdin:
                    stream.close()
        try:
            self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join(_CLOSE_S)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            with contextlib.suppress(OSError, ValueError):
                stream.close()

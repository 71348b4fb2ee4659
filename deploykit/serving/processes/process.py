"""One worker process, as its parent sees it; `deploykit.serving.processes.worker` is what runs in it."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from deploykit.core import errors
from deploykit.runtimes._contract import Runtime
from deploykit.sandbox.groups._contract import GROUPS
from deploykit.sandbox.task import parent_paths
from deploykit.serving.processes.lines import lines_of, say

#: Time a worker may take until it is ready; TensorFlow on a busy machine takes most of a minute.
START_SECONDS = 180.0


def _appending(log: Path) -> IO[bytes]:
    """The log; nowhere when its folder cannot be made again, once old temporary files were removed."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return log.open("ab")
    except OSError:
        return Path(os.devnull).open("ab")


def _handover() -> tuple[socket.socket | None, socket.socket | None]:
    """Both ends of a way for connections; none where processes cannot hand them over."""
    return socket.socketpair() if hasattr(socket, "send_fds") else (None, None)


class WorkerDeath(errors.ServeError):
    """A worker ended for an unknown reason."""


#: Does what a client wants done to the server: what, and with which arguments → what there is to say.
Control = Callable[[str, dict[str, Any]], Any]


class Worker:
    """One worker process.

    Args:
        listeners: Sockets it inherits, by protocol, that of HTTP by ""; none where sockets cannot be inherited.
        runtimes: Their modules are imported while the artifacts are being checked.
        log: File for what it prints.
        slot: Its number among the server's workers.
        control: Does what its clients want done to the server; called in threads of their own.

    Attributes:
        process: The process.
        way: Where connections are handed over to it; None where they cannot be.
    """

    def __init__(
        self,
        listeners: Mapping[str, socket.socket],
        runtimes: Sequence[Runtime],
        log: Path,
        slot: int,
        control: Control,
    ) -> None:
        paths = os.pathsep.join(p for p in parent_paths() if Path(p).is_dir())
        variables: dict[str, str] = {}
        for runtime in runtimes:
            variables |= GROUPS.get(runtime.group).variables()
        modules = dict.fromkeys(module for runtime in runtimes for module in runtime.requires)
        self._control = control
        self._writing = threading.Lock()
        self._numbers = itertools.count()
        #: What it says of a change, by the change's number; None: it has ended.
        self._changes: dict[int, queue.SimpleQueue[list[dict[str, Any]] | None]] = {}
        #: The first line it says: that it serves, or why it does not; None: it has ended before that.
        self._first: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._ended = False
        self._listeners = {name: one.fileno() for name, one in listeners.items()}
        self._log = log
        self.way, theirs = _handover()
        inherited = [*self._listeners.values(), *([] if theirs is None else [theirs.fileno()])]
        with _appending(log) as output:
            self.process = subprocess.Popen(  # noqa: S603  our own interpreter
                [sys.executable, "-m", "deploykit.serving.processes.worker", *modules],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env={
                    **variables,
                    "PYTHONPATH": paths,
                    "PYTHONUNBUFFERED": "1",
                    "PYTHONSAFEPATH": "1",
                },
                pass_fds=inherited,
                start_new_session=os.name == "posix",  # Ctrl-C in a terminal reaches the parent alone
            )
        self._order: dict[str, Any] = {"sockets": self._listeners, "slot": slot}
        if theirs is not None:
            self._order["handover"] = theirs.fileno()
            theirs.close()
        threading.Thread(target=self._listen, name=f"deploykit-worker-{slot}", daemon=True).start()

    def order(self, order: dict[str, Any]) -> None:
        """Say what to serve; a dead worker is noticed by `ready`."""
        self._say({**order, **self._order})

    def _say(self, message: Mapping[str, Any]) -> None:
        with self._writing:
            say(self._stream(self.process.stdin), message)

    def ready(self) -> None:
        """Wait until it can serve.

        Raises:
            WorkerDeath: It ended without a word.
            DeploykitError: What kept it from serving.
        """
        try:
            answer = self._first.get(timeout=START_SECONDS)
        except queue.Empty:
            self.process.kill()
            answer = None
        if answer is None:
            code = self.process.wait()
            raise WorkerDeath(f"A worker exited during startup (status {code}).", log=str(self._log))
        if "error" in answer:
            error = errors.from_json(answer["error"])
            error.log = error.log or str(self._log)
            raise error

    def become(self, state: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        """Have it serve something else, and wait until it does.

        Returns:
            What could not be loaded, see `Holder.become`; None: it has ended.
        """
        number = next(self._numbers)
        answer: queue.SimpleQueue[list[dict[str, Any]] | None] = queue.SimpleQueue()
        self._changes[number] = answer
        if self._ended:
            answer.put(None)
        self._say({"number": number, "state": state})
        try:
            return answer.get(timeout=START_SECONDS)
        except queue.Empty:
            self.process.kill()
            return None
        finally:
            del self._changes[number]

    def _listen(self) -> None:
        """Read what it says, until it ends."""
        try:
            with self._stream(self.process.stdout) as stream:
                for line in lines_of(stream):
                    self._hear(line)
        finally:
            self._ended = True
            self._first.put(None)
            for answer in list(self._changes.values()):
                answer.put(None)

    def _hear(self, line: dict[str, Any]) -> None:
        if "became" in line:
            if (answer := self._changes.get(line["became"])) is not None:
                answer.put(line["failed"])
        elif "seen" in line:
            self._control("seen", line["seen"])
        elif "ask" in line:
            threading.Thread(target=self._do, args=(line,), name="deploykit-control", daemon=True).start()
        else:
            self._first.put(line)

    def _do(self, line: dict[str, Any]) -> None:
        try:
            self._say({"reply": line["ask"], "said": self._control(line["what"], line["arguments"])})
        except Exception as error:
            if not isinstance(error, errors.DeploykitError):
                logging.getLogger("deploykit.serving").exception("%s failed", line["what"])
                error = errors.ServeError("The server could not do it; its log has the details.")
            self._say({"reply": line["ask"], "error": errors.to_json(error)})

    def tell(self, message: Mapping[str, Any]) -> None:
        """Tell it something that it does not answer."""
        self._say(message)

    def go(self) -> None:
        """Have it take requests."""
        self._say({"go": True})

    def drain(self) -> None:
        """Have it say that it is not ready, while it still answers."""
        self._say({"drain": True})

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.end()

    def end(self) -> None:
        """Ask it to end; does not wait."""
        with contextlib.suppress(OSError, ValueError):
            self._stream(self.process.stdin).close()

    def join(self, deadline: float) -> None:
        """Wait until it has ended; kill it at ``deadline`` (of ``time.monotonic``)."""
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.way is not None:
            self.way.close()

    @staticmethod
    def _stream(stream: IO[bytes] | None) -> IO[bytes]:
        assert stream is not None
        return stream

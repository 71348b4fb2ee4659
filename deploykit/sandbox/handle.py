"""The driver's end of one child process: gives it tasks, watches it and ends it."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from deploykit.core import errors
from deploykit.core.adapter import Group
from deploykit.sandbox.scratch import named
from deploykit.sandbox.task import Task, parent_paths
from deploykit.sandbox.watching import Standstill, private_bytes, stopped
from deploykit.sandbox.wire import Wire, encode

#: Resident size at which a child is killed, unless a task says otherwise.
MEMORY_BYTES = 6 << 30
_WATCH_S = 0.2
#: How long a child that has hung up may take to end before it is killed.
_END_S = 5.0
#: How long a child may take to write down where it is.
_TRACE_S = 0.1
#: A message of this size fits into what the system keeps for a reader that does not read.
_AT_ONCE_BYTES = 32 << 10

OnReport = Callable[[float, float, str], None]


class Child:
    """One child process. Not thread-safe: one task at a time."""

    def __init__(self, pid: int, wire: Wire, reap: Callable[[], int], group: Group, log: str) -> None:
        self.pid = pid
        self.group = group
        self._wire = wire
        self._reap = reap
        self._log = log
        self._inbox: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.alive = True
        self._ended = threading.Event()
        threading.Thread(target=self._listen, name=f"deploykit-child-{pid}", daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                self._inbox.put(self._wire.receive())
            except EOFError:
                self._ended.set()
                self._inbox.put(None)
                return

    @property
    def usable(self) -> bool:
        """Whether it can take a task: it has been neither closed, nor killed or stopped from outside."""
        return self.alive and not self._ended.is_set() and not stopped(self.pid)

    def call(
        self, task: Task, on_report: OnReport | None = None, cancel: threading.Event | None = None
    ) -> dict[str, Any]:
        """Run a task and return its result.

        Raises:
            DeploykitError: What the task raised.
            CandidateCrash: The child died (names the signal).
            CandidateTimeout: The deadline passed; the child was killed.
            CandidateMemory: The memory limit was passed; the child was killed.
            ProcessLost: It was stopped from outside; it was killed.
            Cancelled: ``cancel`` was set; the child was killed.
        """
        self.send(task)
        return self.receive(task, on_report, cancel)

    def send(self, task: Task) -> None:
        """Start a task without waiting for it; `receive` gives its result."""
        data = encode(
            {
                "function": task.function,
                "arguments": task.arguments,
                "imports": task.imports,
                "paths": parent_paths(),
                "log": task.log,
            }
        )
        if len(data) <= _AT_ONCE_BYTES:
            self._write(data)
        else:  # a child that stands still reads nothing: its deadline must not wait for that
            threading.Thread(target=self._write, args=(data,), name=f"deploykit-send-{self.pid}", daemon=True).start()

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):  # a dead child is noticed by receive
            self._wire.write(data)

    def receive(
        self, task: Task, on_report: OnReport | None = None, cancel: threading.Event | None = None
    ) -> dict[str, Any]:
        """Wait for the result of the task that was sent; see `call`."""
        try:
            return self._receive(task, on_report, cancel)
        except errors.DeploykitError as error:
            named(error.log)
            raise

    def _receive(self, task: Task, on_report: OnReport | None, cancel: threading.Event | None) -> dict[str, Any]:
        log = task.log or self._log
        still = Standstill(self.pid)
        name = task.name or task.function
        end = time.monotonic() + task.deadline_s
        look = time.monotonic() + _WATCH_S
        while True:
            wait = look - time.monotonic()
            try:
                message = self._inbox.get(timeout=wait) if wait > 0 else self._inbox.get_nowait()
            except queue.Empty:
                message = {}
            if message is None:
                death = self._death()
                raise errors.CandidateCrash(
                    f"The process died in {name}: {death}.", remedy="see the log.", log=log, death=death
                )
            if "error" in message:
                error = errors.from_json(message["error"])
                error.log = error.log or log
                raise error
            if "result" in message:
                result: dict[str, Any] = message["result"]
                return result
            if time.monotonic() >= look:  # by the clock: a child that reports all the time is watched as well
                look = time.monotonic() + _WATCH_S
                self._watch(task, name, log, end, cancel)
                if still.lasts():
                    self.close()
                    raise errors.ProcessLost(
                        f"The process was suspended from outside in {name} (SIGSTOP) and not resumed.",
                        remedy="run it again, and find out what suspends processes on this machine.",
                        log=log,
                    )
            if "progress" in message and on_report is not None:
                on_report(*message["progress"])

    def _watch(self, task: Task, name: str, log: str, end: float, cancel: threading.Event | None) -> None:
        """Kill the child when it was cancelled, is late or has grown too large; its log says where it was."""
        limit = task.memory_bytes or MEMORY_BYTES
        if cancel is not None and cancel.is_set():
            self.close()
            raise errors.Cancelled(f"Cancelled during {name}.")
        if time.monotonic() > end:
            self._tell_where()
            self.close()
            raise errors.CandidateTimeout(
                f"Timed out after {task.deadline_s:g} s in {name}.",
                remedy="raise timeout=, or use fewer data.",
                log=log,
            )
        if (used := private_bytes(self.pid)) > limit:
            self._tell_where()
            self.close()
            raise errors.CandidateMemory(
                f"Out of memory at {used / 1e9:.1f} GB in {name} (limit {limit / 1e9:.1f} GB).",
                remedy="raise memory=, or use smaller batches.",
                log=log,
            )

    def _tell_where(self) -> None:
        """Have the child write the stacks of its threads into its log, also from within C code."""
        if (number := getattr(signal, "SIGUSR1", None)) is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)
                time.sleep(_TRACE_S)

    def _death(self) -> str:
        self.alive = False
        self._wire.close()
        end = time.monotonic() + _END_S
        while private_bytes(self.pid) and time.monotonic() < end:  # it has hung up and is about to end
            time.sleep(0.01)
        self._kill()
        code = self._reap()
        if code >= 0:
            return f"exit status {code}"
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name} (signal {-code})"
        return f"killed by signal {-code}"

    def close(self) -> None:
        """Kill the process and wait for its end."""
        if not self.alive:
            return
        self.alive = False
        self._kill()
        self._wire.close()
        self._reap()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, getattr(signal, "SIGKILL", signal.SIGTERM))

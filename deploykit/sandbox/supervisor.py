"""Starts, feeds, watches and ends child processes.

On Linux one parent for each import group imports the group's modules once; children are forked from it in a tenth of
a second. Elsewhere (no fork, or a fork that is unsafe after frameworks were imported) children are spawned and kept.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deploykit.core import errors
from deploykit.core.adapter import Group
from deploykit.core.serial import dump
from deploykit.sandbox.scratch import child_environment, named, scratch
from deploykit.sandbox.task import Task, parent_paths
from deploykit.sandbox.wire import Wire

#: Resident size at which a child is killed, unless a task says otherwise.
MEMORY_BYTES = 6 << 30
#: A pooled child that has grown beyond this is replaced after its task.
_RETIRE_BYTES = 3 << 30
_WATCH_S = 0.2
_START_S = 180.0
#: How long a child that has hung up may take to end before it is killed.
_END_S = 5.0
#: A wait for imports that is longer than this is one.
_WAITED_S = 0.01

OnReport = Callable[[float, float, str], None]


def default_method() -> str:
    """How children start here: ``"fork"`` on Linux, else ``"spawn"``."""
    return "fork" if sys.platform == "linux" else "spawn"


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
        """Whether it can take a task: it has been neither closed nor killed from outside."""
        return self.alive and not self._ended.is_set()

    def call(
        self, task: Task, on_report: OnReport | None = None, cancel: threading.Event | None = None
    ) -> dict[str, Any]:
        """Run a task and return its result.

        Raises:
            DeploykitError: What the task raised.
            CandidateCrash: The child died (names the signal).
            CandidateTimeout: The deadline passed; the child was killed.
            CandidateMemory: The memory limit was passed; the child was killed.
            Cancelled: ``cancel`` was set; the child was killed.
        """
        self.send(task)
        return self.receive(task, on_report, cancel)

    def send(self, task: Task) -> None:
        """Start a task without waiting for it; `receive` gives its result."""
        with contextlib.suppress(OSError, ValueError):  # a dead child is noticed by receive
            self._wire.send(
                {
                    "function": task.function,
                    "arguments": task.arguments,
                    "imports": task.imports,
                    "paths": parent_paths(),
                    "log": task.log,
                }
            )

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
                raise errors.CandidateCrash(
                    f"the process died in {name}: {self._death()}.", remedy="see the log.", log=log
                )
            if "error" in message:
                error = errors.from_json(message["error"])
                error.log = error.log or log
                raise error
            if "result" in message:
                result: dict[str, Any] = message["result"]
                return result
            if time.monotonic() >= look:  # by the clock: a child that reports all the time is watched, too
                look = time.monotonic() + _WATCH_S
                self._watch(task, name, log, end, cancel)
            if "progress" in message and on_report is not None:
                on_report(*message["progress"])

    def _watch(self, task: Task, name: str, log: str, end: float, cancel: threading.Event | None) -> None:
        """Kill the child when it was cancelled, is late or has grown too large."""
        limit = task.memory_bytes or MEMORY_BYTES
        if cancel is not None and cancel.is_set():
            self.close()
            raise errors.Cancelled(f"cancelled during {name}.")
        if time.monotonic() > end:
            self.close()
            raise errors.CandidateTimeout(
                f"out of time after {task.deadline_s:g} s in {name}.",
                remedy="raise timeout=, or use less data.",
                log=log,
            )
        if (used := resident_bytes(self.pid)) > limit:
            self.close()
            raise errors.CandidateMemory(
                f"out of memory at {used / 1e9:.1f} GB in {name} (limit {limit / 1e9:.1f} GB).",
                remedy="raise memory=, or use smaller batches.",
                log=log,
            )

    def _death(self) -> str:
        self.alive = False
        self._wire.close()
        end = time.monotonic() + _END_S
        while resident_bytes(self.pid) and time.monotonic() < end:  # it has hung up and is about to end
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


class _ForkParent:
    """The process that has imported a group's modules and forks its children."""

    def __init__(self, group: Group, log: str) -> None:
        ours, theirs = socket.socketpair()
        self.group = group
        self._log = log
        self._control = ours
        self._lock = threading.Lock()
        self._process = subprocess.Popen(  # noqa: S603  our own interpreter
            [sys.executable, "-m", "deploykit.sandbox.child", "fork", group, log],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )
        theirs.close()
        self._ready = False
        self._began = time.monotonic()
        #: How long its imports took; 0 while that is not known.
        self.start_s = 0.0

    def child(self) -> Child:
        ours, theirs = socket.socketpair()
        with self._lock, theirs:
            if not self._ready:
                self._control.settimeout(_START_S)
                waited = time.monotonic()
                self._receive(1)
                self._ready = True
                if time.monotonic() - waited > _WAITED_S:  # else it was ready before, nobody knows for how long
                    self.start_s = time.monotonic() - self._began
            try:
                socket.send_fds(self._control, [dump({"fork": 1})], [theirs.fileno()])
            except OSError as error:
                raise self._gone() from error
            pid = array.array("i", self._receive(4))[0]
        wire = Wire(ours.makefile("rb"), ours.makefile("wb"))
        ours.close()
        return Child(pid, wire, lambda: self._wait(pid), self.group, self._log)

    def _receive(self, size: int) -> bytes:
        try:
            data = self._control.recv(size)
        except OSError:
            data = b""
        if len(data) < size:
            raise self._gone()
        return data

    def _gone(self) -> errors.CandidateCrash:
        return errors.CandidateCrash(
            f"the parent of {self.group} processes died.", remedy="see the log.", log=self._log
        )

    def _wait(self, pid: int) -> int:
        with self._lock:
            try:
                self._control.sendall(dump({"wait": pid}))
                return array.array("i", self._receive(4))[0]
            except (OSError, errors.CandidateCrash):
                return -9

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        self._control.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _spawn(group: Group, log: str) -> Child:
    process = subprocess.Popen(  # noqa: S603  our own interpreter
        [sys.executable, "-m", "deploykit.sandbox.child", "spawn", group, log],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    return Child(process.pid, Wire(process.stdout, process.stdin), process.wait, group, log)  # type: ignore[arg-type]


def _environment() -> dict[str, str]:
    paths = os.pathsep.join(p for p in parent_paths() if Path(p).is_dir())
    return {**os.environ, **child_environment(), "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}


class Supervisor:
    """Children for one driver. Thread-safe.

    Args:
        log_dir: Folder for log files; None: a temporary one, removed when this process ends.
        method: ``"fork"`` or ``"spawn"``; None: what suits the system.
    """

    def __init__(self, log_dir: Path | None = None, method: str | None = None) -> None:
        self.log_dir = Path(log_dir or tempfile.mkdtemp(prefix="logs-", dir=scratch()))
        self.log_dir.mkdir(parents=True, exist_ok=True)
        self.method = method or default_method()
        self._parents: dict[str, _ForkParent] = {}
        self._idle: dict[str, list[Child]] = {}
        self._lock = threading.Lock()
        atexit.register(self.close)

    def warm(self, group: Group) -> None:
        """Begin to import a group's modules, without waiting."""
        if self.method == "fork":
            self._parent(group)
        else:
            with self._lock:
                self._idle.setdefault(group, []).append(_spawn(group, self._log(group)))

    def child(self, group: Group) -> Child:
        """A new child of one's own; close it after use."""
        if self.method == "fork":
            return self._parent(group).child()
        return _spawn(group, self._log(group))

    @contextlib.contextmanager
    def lease(self, group: Group) -> Iterator[Child]:
        """A pooled child, given back afterwards unless it died or has grown."""
        with self._lock:
            waiting = self._idle.pop(group, [])
            dead = [c for c in waiting if not c.usable]
            waiting = [c for c in waiting if c.usable]
            child = waiting.pop() if waiting else None
            self._idle[group] = waiting
        for one in dead:
            one.close()
        child = child or self.child(group)
        try:
            yield child
        except BaseException:
            if child.alive:
                child.close()
            raise
        if child.usable and resident_bytes(child.pid) < _RETIRE_BYTES:
            with self._lock:
                self._idle.setdefault(group, []).append(child)
        else:
            child.close()

    def run(
        self, task: Task, on_report: OnReport | None = None, cancel: threading.Event | None = None
    ) -> dict[str, Any]:
        """Run a task in a pooled child, or in one of its own; see `Child.call`."""
        if task.fresh:
            child = self.child(task.group)
            try:
                return child.call(task, on_report, cancel)
            finally:
                child.close()
        with self.lease(task.group) as child:
            return child.call(task, on_report, cancel)

    def start_seconds(self) -> dict[str, float]:
        """How long the imports of the groups in use took; 0 where nobody had to wait for them."""
        with self._lock:
            return {group: parent.start_s for group, parent in self._parents.items() if parent.alive}

    def drain(self) -> None:
        """End the idle children (their parents stay)."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for children in idle.values():
            for child in children:
                child.close()

    def close(self) -> None:
        """End all processes."""
        self.drain()
        with self._lock:
            parents, self._parents = self._parents, {}
        for parent in parents.values():
            parent.close()
        atexit.unregister(self.close)

    def _parent(self, group: Group) -> _ForkParent:
        with self._lock:
            parent = self._parents.get(group)
            if parent is None or not parent.alive:
                if parent is not None:
                    parent.close()
                parent = self._parents[group] = _ForkParent(group, self._log(group))
            return parent

    def _log(self, group: str) -> str:
        return str(self.log_dir / f"{group}.log")


def resident_bytes(pid: int) -> int:
    """Resident memory of a process, 0 when it is gone."""
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def warm_groups() -> frozenset[str]:
    """Import groups that the shared supervisor has started; starts nothing."""
    return frozenset(_shared.start_seconds()) if _shared is not None else frozenset()


_shared: Supervisor | None = None
_shared_lock = threading.Lock()


def shared() -> Supervisor:
    """The supervisor of this process, made on first use: frameworks are imported once however many calls need them."""
    global _shared
    with _shared_lock:
        if _shared is None:
            _shared = Supervisor()
        return _shared

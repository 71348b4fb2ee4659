"""The driver's end of a process that has imported a group's modules once and forks children."""

from __future__ import annotations

import array
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from deploykit.core import errors
from deploykit.core.adapter import Group
from deploykit.core.serial import dump
from deploykit.sandbox.groups._contract import GROUPS
from deploykit.sandbox.handle import Child
from deploykit.sandbox.scratch import child_environment
from deploykit.sandbox.task import parent_paths
from deploykit.sandbox.watching import Standstill, stopped
from deploykit.sandbox.wire import Wire

#: How long imports may take, and how long a parent that has done them may take to answer: it may be importing more.
_START_S, _ANSWER_S = 180.0, 60.0
_LOOK_S = 0.2
_END_S = 5.0
#: A wait for imports that is longer than this is one.
_WAITED_S = 0.01


class ParentLost(Exception):  # noqa: N818  no fault of the task: another parent can do it
    """The parent died, was stopped, or does not answer; it has been killed."""


class ForkParent:
    """The process that has imported a group's modules and forks its children. Thread-safe."""

    def __init__(self, group: Group, log: str) -> None:
        variables = environment(group)
        ours, theirs = socket.socketpair()
        self.group = group
        self._log = log
        self._control = ours
        self._control.settimeout(_LOOK_S)
        self._lock = threading.Lock()
        self._process = subprocess.Popen(  # noqa: S603  our own interpreter
            [sys.executable, "-m", "deploykit.sandbox.child", "fork", group, log],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=variables,
        )
        theirs.close()
        self._ready = False
        self._alive = True
        self._began = time.monotonic()
        #: How long its imports took; 0 while that is not known.
        self.start_s = 0.0

    def child(self, cancel: threading.Event | None = None) -> Child:
        """A new child.

        Raises:
            ParentLost: This parent is of no use any more.
            Cancelled: ``cancel`` was set while its imports were waited for.
        """
        while not self._lock.acquire(timeout=_LOOK_S):
            _check(cancel)
        ours, theirs = socket.socketpair()
        try:
            if not self._ready:
                waited = time.monotonic()
                self._receive(1, _START_S, cancel)
                self._ready = True
                if time.monotonic() - waited > _WAITED_S:  # else it was ready before, for an unknown time
                    self.start_s = time.monotonic() - self._began
            try:
                socket.send_fds(self._control, [dump({"fork": 1})], [theirs.fileno()])
            except OSError as error:
                raise self._lost("does not answer") from error
            pid = array.array("i", self._receive(4, _ANSWER_S))[0]
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            self._lock.release()
        wire = Wire(ours.makefile("rb"), ours.makefile("wb"))
        ours.close()
        return Child(pid, wire, lambda: self._wait(pid), self.group, self._log)

    def _receive(self, size: int, limit_s: float, cancel: threading.Event | None = None) -> bytes:
        """So many bytes from the parent, which is watched meanwhile."""
        still, end, data = Standstill(self._process.pid), time.monotonic() + limit_s, b""
        while len(data) < size:
            try:
                part = self._control.recv(size - len(data))
            except TimeoutError:
                _check(cancel)
                if still.lasts():
                    raise self._lost("was suspended from outside (SIGSTOP) and not resumed") from None
                if time.monotonic() > end:
                    raise self._lost(f"did not answer for {limit_s:g} s") from None
                continue
            except OSError as error:
                raise self._lost("does not answer") from error
            if not part:
                raise self._lost("died")
            data += part
        return data

    def _lost(self, what: str) -> ParentLost:
        """Make sure that it is gone, since its next answer could be anything, and say why."""
        self._alive = False
        with contextlib.suppress(subprocess.TimeoutExpired, ValueError):
            code = self._process.wait(_LOOK_S if what == "died" else 0)
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
            what = f"{what} ({how})"
        self._process.kill()
        return ParentLost(f"The process that imports what {self.group} tasks need {what}")

    def _wait(self, pid: int) -> int:
        """The exit status of a child that has been killed."""
        with self._lock:
            if not self.alive:
                return -9
            try:
                self._control.sendall(dump({"wait": pid}))
                return array.array("i", self._receive(4, _ANSWER_S))[0]
            except (OSError, ParentLost):
                return -9

    @property
    def alive(self) -> bool:
        """Whether it has not ended and has answered whenever it was asked."""
        return self._alive and self._process.poll() is None

    def close(self) -> None:
        """End it, and with it all children."""
        self._control.close()
        try:
            if stopped(self._process.pid):
                self._process.kill()
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def spawn(group: Group, log: str, *, preloads: bool = True) -> Child:
    """A child that imports what it needs itself.

    Args:
        group: Its import group.
        log: Where it writes.
        preloads: Whether it imports what any task of its group may need, as a child that is kept should.
    """
    process = subprocess.Popen(  # noqa: S603  our own interpreter
        [sys.executable, "-m", "deploykit.sandbox.child", "spawn" if preloads else "once", group, log],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(group),
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def reap() -> int:
        try:
            return process.wait(_END_S)
        except subprocess.TimeoutExpired:  # it was killed: the system has not ended it yet
            return -9

    return Child(process.pid, Wire(process.stdout, process.stdin), reap, group, log)  # type: ignore[arg-type]


def environment(group: Group) -> dict[str, str]:
    """The environment of a group's processes.

    Raises:
        SettingError: There is no such group (lists the known ones).
    """
    paths = os.pathsep.join(p for p in parent_paths() if Path(p).is_dir())
    return {**GROUPS.get(group).variables(), **child_environment(), "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}


def _check(cancel: threading.Event | None) -> None:
    if cancel is not None and cancel.is_set():
        raise errors.Cancelled("Cancelled while a process was started.")

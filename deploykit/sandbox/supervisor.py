"""Starts and ends child processes, and keeps them for the next task.

On Linux one parent for each import group imports the group's modules once; children are forked from it in a tenth of
a second. Elsewhere (no fork, or a fork that is unsafe after frameworks were imported) children are spawned and kept.
"""

from __future__ import annotations

import atexit
import contextlib
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploykit.core import errors
from deploykit.core.adapter import Group
from deploykit.sandbox.forking import ForkParent, ParentLost, spawn
from deploykit.sandbox.handle import Child, OnReport
from deploykit.sandbox.scratch import scratch
from deploykit.sandbox.task import Task
from deploykit.sandbox.watching import private_bytes

__all__ = ["Child", "OnReport", "Supervisor", "default_method", "shared", "warm_groups"]

#: A pooled child that has grown beyond this is replaced after its task.
_RETIRE_BYTES = 3 << 30


def default_method() -> str:
    """How children start here: ``"fork"`` on Linux, else ``"spawn"``."""
    return "fork" if sys.platform == "linux" else "spawn"


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
        self._parents: dict[str, ForkParent] = {}
        self._idle: dict[str, list[Child]] = {}
        self._lock = threading.Lock()
        atexit.register(self.close)

    def warm(self, group: Group) -> None:
        """Begin to import a group's modules, without waiting."""
        if self.method == "fork":
            self._parent(group)
        else:
            with self._lock:
                self._idle.setdefault(group, []).append(spawn(group, self._log(group)))

    def child(self, group: Group, cancel: threading.Event | None = None) -> Child:
        """A new child of one's own; close it after use.

        Raises:
            ProcessLost: None could be started, twice.
            Cancelled: ``cancel`` was set meanwhile.
        """
        if self.method != "fork":
            return spawn(group, self._log(group))
        for last in (False, True):
            try:
                return self._parent(group).child(cancel)
            except ParentLost as lost:
                if last:
                    raise errors.ProcessLost(
                        f"{lost}, and so did the next one.",
                        remedy="see the log; deploykit doctor shows what can be used here.",
                        log=self._log(group),
                    ) from lost
        raise AssertionError("unreachable")

    @contextlib.contextmanager
    def lease(self, group: Group, cancel: threading.Event | None = None) -> Iterator[Child]:
        """A pooled child, given back afterwards unless it died or has grown."""
        with self._lock:
            waiting = self._idle.pop(group, [])
            dead = [c for c in waiting if not c.usable]
            waiting = [c for c in waiting if c.usable]
            child = waiting.pop() if waiting else None
            self._idle[group] = waiting
        for one in dead:
            one.close()
        child = child or self.child(group, cancel)
        try:
            yield child
        except BaseException:
            if child.alive:
                child.close()
            raise
        if child.usable and private_bytes(child.pid) < _RETIRE_BYTES:
            with self._lock:
                self._idle.setdefault(group, []).append(child)
        else:
            child.close()

    @contextlib.contextmanager
    def once(self, group: Group) -> Iterator[Child]:
        """A child of one's own for tasks after which the group may never be needed again, as before a model is served.

        It is forked if the group's modules have been imported already. Else it imports what its tasks need and nothing
        more, and no parent stays behind.

        Raises:
            ProcessLost: None could be started, twice.
        """
        with self._lock:
            parent = self._parents.get(group)
        imported = parent is not None and parent.alive
        child = self.child(group) if imported else spawn(group, self._log(group), preloads=False)
        try:
            yield child
        finally:
            child.close()

    def run(
        self, task: Task, on_report: OnReport | None = None, cancel: threading.Event | None = None
    ) -> dict[str, Any]:
        """Run a task in a pooled child, or in one of its own; see `Child.call`."""
        if task.fresh:
            child = self.child(task.group, cancel)
            try:
                return child.call(task, on_report, cancel)
            finally:
                child.close()
        with self.lease(task.group, cancel) as child:
            return child.call(task, on_report, cancel)

    def start_seconds(self) -> dict[str, float]:
        """How long the imports of the groups in use took; 0 where nothing had to wait for them."""
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

    def _parent(self, group: Group) -> ForkParent:
        with self._lock:
            parent = self._parents.get(group)
            if parent is None or not parent.alive:
                if parent is not None:
                    parent.close()
                parent = self._parents[group] = ForkParent(group, self._log(group))
            return parent

    def _log(self, group: str) -> str:
        return str(self.log_dir / f"{group}.log")


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

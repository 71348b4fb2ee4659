"""This machine: one task for each core, in pooled child processes."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

from deploykit.core.adapter import Group
from deploykit.engines._contract import FACTS, Engine, Host, OnReport, Running, run_on_host
from deploykit.sandbox.groups._contract import GROUPS
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task, resolve

#: Tasks at once also share caches and memory bandwidth; more have not been measured.
_MOST = 4


def slots() -> int:
    """Tasks that run at once on this machine: one per core, as long as all fit its memory, whatever group they need."""
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    heaviest = max(group.costs.memory_bytes for group in GROUPS.all())
    return max(1, min(_MOST, cores, int(psutil.virtual_memory().total) // heaviest))


class LocalRunning(Running):
    """Tasks run in children of this process."""

    def __init__(self, cancel: threading.Event) -> None:
        self.slots = slots()
        self.cancel = cancel
        self._pool = ThreadPoolExecutor(self.slots, thread_name_prefix="deploykit-task")
        self._single = ThreadPoolExecutor(1, thread_name_prefix="deploykit-exclusive")
        self._change = threading.Condition()
        self._inside = 0
        self._closed_to_tasks = False

    def submit(self, task: Task, on_report: OnReport | None = None) -> Future[dict[str, Any]]:
        """Run a task in a child when a slot is free."""
        return self._pool.submit(self._run, task, on_report)

    def exclusive(self, task: Task, on_report: OnReport | None = None) -> Future[dict[str, Any]]:
        """Run a task while no other one runs."""
        return self._single.submit(self._run_alone, task, on_report)

    def facts(self, device: str) -> dict[str, Any]:
        """Facts of this machine."""
        return cast("Callable[[], dict[str, Any]]", resolve(FACTS))()

    def warm(self, group: Group) -> None:
        """Begin to import a group's modules."""
        shared().warm(group)

    def close(self) -> None:
        """Wait for what runs, and end idle children."""
        self._single.shutdown(cancel_futures=True)
        self._pool.shutdown(cancel_futures=True)
        shared().drain()

    def _run(self, task: Task, on_report: OnReport | None) -> dict[str, Any]:
        with self._change:
            self._change.wait_for(lambda: not self._closed_to_tasks)
            self._inside += 1
        try:
            return shared().run(task, on_report, self.cancel)
        finally:
            with self._change:
                self._inside -= 1
                self._change.notify_all()

    def _run_alone(self, task: Task, on_report: OnReport | None) -> dict[str, Any]:
        with self.alone():
            return run_on_host(task, Host(shared(), self.cancel), on_report)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Let running tasks end and no new one begin."""
        with self._change:
            self._closed_to_tasks = True
            self._change.wait_for(lambda: self._inside == 0)
        try:
            shared().drain()  # idle children keep memory, and some runtimes keep threads that spin
            yield
        finally:
            with self._change:
                self._closed_to_tasks = False
                self._change.notify_all()


class Local(Engine):
    """Runs tasks on this machine."""

    name = "local"
    label = "this machine"
    help = "Child processes on this machine, one task per core."

    def start(self, address: Any, cancel: threading.Event) -> Running:
        """Begin to work; there is no address."""
        return LocalRunning(cancel)


ADAPTER = Local()

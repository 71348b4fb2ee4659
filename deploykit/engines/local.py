"""This machine: one task for each core, in pooled child processes."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from deploykit.engines._contract import Engine, OnReport, Running
from deploykit.sandbox.supervisor import Supervisor, shared
from deploykit.sandbox.task import Task

#: More tasks at once would only fight for memory: frameworks use a gigabyte each.
_MOST = 4


class _LocalRunning(Running):
    def __init__(self, cancel: threading.Event) -> None:
        import os

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.slots = max(1, min(_MOST, cores))
        self.cancel = cancel
        self._pool = ThreadPoolExecutor(self.slots, thread_name_prefix="deploykit-task")

    def submit(self, task: Task, on_report: OnReport | None = None) -> Future[dict[str, Any]]:
        return self._pool.submit(self.supervisor.run, task, on_report, self.cancel)

    @property
    def supervisor(self) -> Supervisor:
        return shared()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self.supervisor.drain()


class Local(Engine):
    """Runs tasks on this machine."""

    name = "local"
    label = "this machine"
    help = "Child processes of this machine, one task for each core."

    def start(self, address: str, cancel: threading.Event) -> Running:
        """Begin to work; there is no address."""
        return _LocalRunning(cancel)


ADAPTER = Local()

"""An engine in one file: this machine, one task at a time."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from deploykit.engines._contract import FACTS, Engine, Host, OnReport, Running, run_on_host
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task, resolve


class _OneByOneRunning(Running):
    slots = 1

    def __init__(self, cancel: threading.Event) -> None:
        self.cancel = cancel
        self._thread = ThreadPoolExecutor(1)

    def submit(self, task: Task, on_report: OnReport | None = None) -> Future[dict[str, Any]]:
        return self._thread.submit(shared().run, task, on_report, self.cancel)

    def exclusive(self, task: Task, on_report: OnReport | None = None) -> Future[dict[str, Any]]:
        return self._thread.submit(run_on_host, task, Host(shared(), self.cancel), on_report)

    def facts(self, device: str) -> dict[str, Any]:
        return resolve(FACTS)()  # type: ignore[call-arg]  # facts need no task

    def warm(self, group: str) -> None:
        shared().warm(group)

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)


class OneByOne(Engine):
    """Runs tasks one after the other."""

    name = "one_by_one"
    label = "one by one"
    help = "Child processes on this machine, one task at a time: for little memory."

    def start(self, address: Any, cancel: threading.Event) -> Running:
        return _OneByOneRunning(cancel)


ADAPTER = OneByOne()

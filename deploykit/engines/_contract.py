"""What an engine is: a place where tasks run, each in a supervised child process."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Self

from deploykit.core.adapter import Adapter
from deploykit.core.registry import Registry
from deploykit.sandbox.supervisor import Supervisor
from deploykit.sandbox.task import Task

OnReport = Callable[[float, float, str], None]


class Running:
    """An engine at work. Thread-safe.

    Attributes:
        slots: How many tasks run at once.
        cancel: Set it to kill what runs.
    """

    slots: int
    cancel: threading.Event

    @abstractmethod
    def submit(self, task: Task, on_report: OnReport | None = None) -> Future[dict[str, Any]]:
        """Start a task when a slot is free; the future raises what the task raised."""

    @property
    @abstractmethod
    def supervisor(self) -> Supervisor:
        """The supervisor of the host that times latency."""

    @abstractmethod
    def close(self) -> None:
        """Wait for what runs, and give everything back."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class Engine(Adapter):
    """Makes a `Running`."""

    @abstractmethod
    def start(self, address: str, cancel: threading.Event) -> Running:
        """Begin to work.

        Args:
            address: What follows the engine's name in ``engine="name://address"``, "" when nothing does.
            cancel: Set when the user cancels.
        """


ENGINES: Registry[Engine] = Registry("deploykit.engines", "engine")


def start(engine: str, cancel: threading.Event) -> Running:
    """Start the engine called ``engine`` (``"local"``, ``"name://address"``)."""
    name, _, address = engine.partition("://")
    adapter = ENGINES.get(name)
    adapter.check_installed()
    return adapter.start(address, cancel)

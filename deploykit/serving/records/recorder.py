"""Takes what is recorded of requests from the event loop to files and collectors, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Any

from deploykit.serving.records.entry import Entry

#: Requests that wait to be written; more are counted and left out.
_MOST = 100_000
#: So often what has come is written, seconds.
_EVERY_SECONDS = 0.2

_log = logging.getLogger("deploykit.serving")


class Act(dict[str, Any]):
    """What was done to the server, for the audit log: ``{"action": "load", …}``."""


class Sink(ABC):
    """Where records go. Used by one thread."""

    @abstractmethod
    def write(self, found: Sequence[Entry | Act], lost: int) -> None:
        """Write some, in their order.

        Args:
            found: What has happened.
            lost: How many are missing, since they came faster than they could be written.
        """

    def close(self) -> None:  # noqa: B027  most have nothing to end
        """End."""


class Recorder:
    """Records requests. Any thread may add.

    Args:
        sinks: Where they go.
        most: So many may wait.
    """

    def __init__(self, sinks: Sequence[Sink], most: int = _MOST) -> None:
        self._sinks = tuple(sinks)
        self._most = most
        self._waiting: deque[Entry | Act] = deque()
        self._lost = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="deploykit-records", daemon=True)
        self._thread.start()

    def add(self, entry: Entry | Act) -> None:
        """Record one, soon."""
        if len(self._waiting) < self._most:
            self._waiting.append(entry)
        else:
            self._lost += 1

    def close(self) -> None:
        """Write what is left, and end."""
        self._ending.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ending.wait(_EVERY_SECONDS):
            self._write()
        self._write()
        for sink in self._sinks:
            self._try(sink.close)

    def _write(self) -> None:
        lost, self._lost = self._lost, 0
        found = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if found or lost:
            for sink in self._sinks:
                self._try(sink.write, found, lost)

    @staticmethod
    def _try(work: Any, *arguments: Any) -> None:
        """Requests are answered even where they cannot be recorded, as on a full disk; the server's log says so."""
        try:
            work(*arguments)
        except Exception:
            _log.exception("requests are not recorded")

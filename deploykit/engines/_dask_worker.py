"""The Dask task that runs a unit in the process of a Dask worker."""

from __future__ import annotations

import threading
import time
from typing import Any

from deploykit.engines import _worker

_WATCH_S = 0.25
_REPORT_S = 0.25
#: States of a Dask task whose result is still wanted.
_WANTED = {"executing", "long-running", "resumed"}


def run(plain: dict[str, Any], topic: str) -> dict[str, Any]:
    """Run a unit in its plain form: the Dask task.

    Args:
        plain: The plain `deploykit.engines._worker.Unit`; its name is the task's key.
        topic: Where it reports.

    Returns:
        What `deploykit.engines._worker.run_unit` answers.
    """
    from distributed import get_worker

    unit = _worker.Unit.from_json(plain)
    worker = get_worker()
    _worker.forget(set(worker.state.tasks))
    cancel, done = threading.Event(), threading.Event()

    def watch() -> None:
        """Kill what is no longer wanted: it was cancelled, or its driver is gone."""
        while not done.wait(_WATCH_S):
            state = worker.state.tasks.get(unit.name)
            if state is None or state.state not in _WANTED:
                cancel.set()
                return

    threading.Thread(target=watch, name="deploykit-watch", daemon=True).start()
    try:
        return _worker.run_unit(unit, _Reporter(worker, unit.name, topic), cancel)
    finally:
        done.set()


class _Reporter:
    """Sends progress to the driver, at most a few times per second."""

    def __init__(self, worker: Any, unit: str, topic: str) -> None:
        self._worker = worker
        self._unit = unit
        self._topic = topic
        self._next = 0.0

    def __call__(self, done: float, total: float, words: str) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _REPORT_S
            self._worker.log_event(self._topic, {"unit": self._unit, "report": [done, total, words]})

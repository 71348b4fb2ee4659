"""Work in a thread of its own that can be paused, cancelled and waited for: sweeps and passes of sensitivity."""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from typing import Any

from deploykit.core.errors import Cancelled
from deploykit.engines._contract import Running, start
from deploykit.reporting.events import Progress
from deploykit.sandbox.supervisor import shared, warm_groups
from deploykit.storage.store import Store
from deploykit.sweeping.state import State

#: Seconds between two looks at the time left while nothing else is said.
_BEAT_S = 1.0
#: The engine whose durations say something about this machine.
LOCAL = "local"


class Background(ABC):
    """A handle of such work.

    Args:
        store: Held for writing while it runs.
        engine: Where tasks run.
        state: Rows and progress.
        name: Of the thread.
    """

    def __init__(self, store: Store, engine: Any, state: State, name: str) -> None:
        self._store = store
        self._engine = engine
        self._state = state
        self._cancel = threading.Event()
        self._resume = threading.Event()
        self._resume.set()
        # Not Thread.join: interrupted by Ctrl-C it takes a running thread for a finished one (Python 3.11, 3.12).
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    @property
    def progress(self) -> Progress:
        """What it does now and what is left."""
        return self._state.progress

    @property
    def running(self) -> bool:
        """Whether it still works."""
        return self._thread.ident is not None and not self._ended.is_set()

    def pause(self) -> None:
        """Start nothing new until `resume`; what runs is finished."""
        self._resume.clear()
        self._state.pause(paused=True)
        self._state.say(self._state.progress.phase, "paused")

    def resume(self) -> None:
        """Continue after `pause`."""
        self._state.pause(paused=False)
        self._resume.set()

    def cancel(self) -> None:
        """Stop now; everything finished is kept."""
        self._cancel.set()
        self._resume.set()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for the end, or for some seconds."""
        self._ended.wait(timeout_s)

    def begin(self) -> None:
        """Start the thread, and another one that shows the time left while a long task runs."""
        self._thread.start()
        threading.Thread(target=self._beat, name=f"{self._thread.name}-clock", daemon=True).start()

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT_S):
            self._state.tick()

    def watch(self) -> None:
        """Wait for the end; Ctrl-C cancels."""
        try:
            while self.running:
                self.join(0.2)
        except KeyboardInterrupt:
            self.cancel()

    def _check(self, timeout_s: float | None) -> None:
        """Wait for the end, and raise what ended it early, unless it was `cancel`."""
        self._ended.wait(timeout_s)
        if self._error is not None:
            raise self._error

    @abstractmethod
    def _work(self, running: Running) -> str:
        """Do it; gives what was done, in words."""

    def _main(self) -> None:
        warm = warm_groups()
        try:
            with self._store.writer(), start(self._engine, self._cancel) as running:
                said = self._work(running)
            if damaged := self._store.damaged:
                said = f"{said}; damaged in the store, redone where needed: {', '.join(damaged)}"
            self._state.say("done", said)
        except Cancelled:
            self._state.say("cancelled", "cancelled; finished work is kept")
        except BaseException as error:  # carried to the thread that waits
            self._error = error
            with contextlib.suppress(Exception):
                self._state.say("failed", str(error))
        finally:
            self._remember(warm)
            self._ended.set()

    def _remember(self, warm: frozenset[str]) -> None:
        """Keep how long this machine took; what other machines take says nothing of it."""
        if self._engine != LOCAL:
            return
        durations = self._state.durations
        for group, seconds in shared().start_seconds().items():
            if seconds and group not in warm:
                durations.note(durations.units.start(group), seconds)
        durations.save()


def wait_turn(cancel: threading.Event, resume: threading.Event) -> None:
    """Return when work may continue.

    Raises:
        Cancelled: The user cancelled.
    """
    while not resume.wait(0.2):
        if cancel.is_set():
            break
    if cancel.is_set():
        raise Cancelled("Cancelled.")

"""One thread that changes the widgets, so that no other code has to lock them.

Browser events, messages from a running sweep and results of long work arrive on different threads. Each of them only
leaves a note on the desk, whose thread works through the notes one by one. Long work gets its own thread, and its
result comes back as a note. The kernel is never blocked, and no widget is changed by two threads.
"""

from __future__ import annotations

import contextvars
import heapq
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
#: Work for a key starts again after at least this many times its own duration, to keep the desk free for clicks.
_REST = 4.0


@dataclass
class _Note:
    due: float
    work: Callable[[], None]
    key: str = ""


class Desk:
    """Notes in the order they are due, processed by one thread.

    Args:
        on_error: Called on the desk's thread with an exception that a note raised.
    """

    def __init__(self, on_error: Callable[[BaseException], None]) -> None:
        self._on_error = on_error
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, _Note]] = []
        self._keyed: dict[str, _Note] = {}
        self._last: dict[str, float] = {}
        self._took: dict[str, float] = {}
        self._count = itertools.count()
        self._busy = 0
        self._hurry = 0
        self._closed = False
        # In the context of the cell that made it: a kernel routes the answers to what a thread sends by the request it
        # takes for that thread's own, which outside of any would be the latest, on a subshell that may be gone.
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._main,), name="deploykit-workbench", daemon=True)
        self._thread.start()

    # -- leaving notes ----------------------------------------------------------------------------------------------

    def post(self, work: Callable[[], None]) -> None:
        """Run ``work`` as soon as possible."""
        self._put(_Note(time.monotonic(), work))

    def at_most_every(self, seconds: float, key: str, work: Callable[[], None]) -> None:
        """Run the latest work for ``key``, at most once per interval, and less often if the work itself takes long."""
        seconds = max(seconds, _REST * self._took.get(key, 0.0))
        self._put(_Note(max(time.monotonic(), self._last.get(key, -seconds) + seconds), work, key))

    def run(
        self, name: str, work: Callable[[], T], done: Callable[[T], None], failed: Callable[[BaseException], None]
    ) -> None:
        """Run long work in its own thread; ``done`` or ``failed`` is called on the desk's thread."""

        def main() -> None:
            try:
                result = work()
            except BaseException as error:  # carried to the desk, which shows it
                caught = error
                self.post(lambda: failed(caught))
            else:
                self.post(lambda: done(result))
            finally:
                self._add_busy(-1)

        self._add_busy(1)
        threading.Thread(target=main, name=f"deploykit-{name}", daemon=True).start()

    @property
    def here(self) -> bool:
        """Whether the caller runs on the desk's thread."""
        return threading.current_thread() is self._thread

    # -- waiting and ending -----------------------------------------------------------------------------------------

    def settle(self, timeout_s: float = 60.0) -> bool:
        """Wait until no note or long work is left; delayed notes run at once. Returns whether that was reached."""
        if self.here:
            raise RuntimeError("the desk cannot wait for itself")
        end = time.monotonic() + timeout_s
        with self._changed:
            self._hurry += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(
                    lambda: self._closed or not (self._heap or self._busy), end - time.monotonic()
                )
            finally:
                self._hurry -= 1

    def close(self) -> None:
        """End the thread; remaining notes are discarded."""
        with self._changed:
            self._closed = True
            self._heap.clear()
            self._changed.notify_all()
        if not self.here:
            self._thread.join(5)

    # -- the thread -------------------------------------------------------------------------------------------------

    def _put(self, note: _Note) -> None:
        with self._changed:
            if self._closed:
                return
            waiting = self._keyed.get(note.key) if note.key else None
            if waiting is not None:
                waiting.work = note.work
                return
            if note.key:
                self._keyed[note.key] = note
            heapq.heappush(self._heap, (note.due, next(self._count), note))
            self._changed.notify_all()

    def _add_busy(self, change: int) -> None:
        with self._changed:
            self._busy += change
            self._changed.notify_all()

    def _next(self) -> _Note | None:
        with self._changed:
            while not self._closed:
                if not self._heap:
                    self._changed.wait()
                elif not self._hurry and (left := self._heap[0][0] - time.monotonic()) > 0:
                    self._changed.wait(left)
                else:
                    note = heapq.heappop(self._heap)[2]
                    if note.key and self._keyed.get(note.key) is note:
                        del self._keyed[note.key]
                        self._last[note.key] = time.monotonic()
                    self._busy += 1
                    return note
            return None

    def _main(self) -> None:
        while (note := self._next()) is not None:
            began = time.monotonic()
            try:
                note.work()
            except Exception as error:
                self._tell(error)
            if note.key:
                self._took[note.key] = time.monotonic() - began
            self._add_busy(-1)

    def _tell(self, error: Exception) -> None:
        try:
            self._on_error(error)
        except Exception:  # the thread must live on, whatever the panels do
            return

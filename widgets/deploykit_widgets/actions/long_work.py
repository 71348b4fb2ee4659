"""Long work: the latest of a panel counts, its failure is shown there, and it ends when the Workbench is closed."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import Cancelled, DeploykitError
from deploykit_widgets.desk import Desk
from deploykit_widgets.state import State

if TYPE_CHECKING:
    from deploykit import SensitivityHandle, SweepHandle


class Ends:
    """Ends what was started when the Workbench is closed. Thread-safe.

    Work that is still starting at that moment is ended by its own thread as soon as it runs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: dict[object, Callable[[], None]] = {}
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it is closed, so that nothing may be started."""
        return self._closed

    def keep(self, started: object, end: Callable[[], None]) -> None:
        """Register something to end at the close; called by the thread that started it.

        Raises:
            Cancelled: It was already closed; what was started has been ended.
        """
        with self._lock:
            if not self._closed:
                self._ends[started] = end
                return
        end()
        raise Cancelled("This was closed while work was being started.")

    def drop(self, started: object) -> None:
        """Forget work that has ended."""
        with self._lock:
            self._ends.pop(started, None)

    def close(self) -> None:
        """End everything, and allow nothing new to start."""
        with self._lock:
            self._closed = True
            ends = list(self._ends.values())
            self._ends.clear()
        for end in ends:
            with contextlib.suppress(DeploykitError):
                end()


def stop(handle: SweepHandle | SensitivityHandle) -> None:
    """Cancel a sweep or a pass over the layers, and wait until it ends."""
    if handle.running:
        handle.cancel()
        handle.join(30)


class LongWork:
    """The part of the commands that runs long work.

    Args:
        state: The state they change.
        desk: Runs long work.
    """

    def __init__(self, state: State, desk: Desk) -> None:
        self.state = state
        self.desk = desk
        self.ends = Ends()
        self._tickets: dict[str, threading.Event] = {}

    def _refuses(self, panel: str, words: str) -> bool:
        """Whether work of the panel is in progress; if so, the panel says so."""
        if panel not in self.state.busy:
            return False
        self.state.problem(panel, words, until=("busy",))
        return True

    def _give_up(self, panel: str) -> None:
        """Stop waiting for the work of a panel, and cancel what can be cancelled."""
        ticket = self._tickets.pop(panel, None)
        if ticket is not None:
            ticket.set()
            self.state.change(busy=self.state.busy - {panel})

    def close(self) -> None:
        """End everything that was started, and wait for it. Call it from any thread."""
        for ticket in tuple(self._tickets.values()):
            ticket.set()
        self.ends.close()

    def _long(
        self,
        panel: str,
        work: Callable[[], Any],
        done: Callable[[Any], None],
        failed: Callable[[BaseException], None] | None = None,
        cancel: threading.Event | None = None,
        until: Iterable[str] = (),
    ) -> None:
        """Run long work of a panel, whose failure is shown there; `State.busy` says that it is running.

        If it is requested again in the meantime, the latest request counts, whichever finishes last.

        Args:
            panel: The panel it belongs to.
            work: Called in its own thread.
            done: Called with its result.
            failed: Called with its exception.
            cancel: Set when the result is no longer wanted.
            until: State attributes that a failure depends on; see `State.problem`.
        """
        self._give_up(panel)
        state, ticket = self.state, cancel or threading.Event()
        self._tickets[panel] = ticket
        state.problem(panel, None)
        state.change(busy=state.busy | {panel})

        def counts() -> bool:
            if self._tickets.get(panel) is not ticket:
                return False
            del self._tickets[panel]
            state.change(busy=state.busy - {panel})
            state.problem(panel, None)  # such as that it was asked for twice
            return True

        def good(result: Any) -> None:
            if counts():
                done(result)

        def bad(error: BaseException) -> None:
            if counts():
                state.problem(panel, error, until)
                if failed is not None:
                    failed(error)

        self.desk.run(panel, work, good, bad)

"""Sweep: what runs now, what is left; pause, resume, cancel."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from deploykit.reporting.progress import duration, reached
from deploykit_widgets.actions.commands import Commands
from deploykit_widgets.answers import Command
from deploykit_widgets.sections._contract import Panel
from deploykit_widgets.state import State

#: A sweep is late by this share of the expected time, and by this many seconds.
_LATE, _LATE_S = 0.25, 10.0


class Pace:
    """Whether a sweep takes longer than estimated at its start."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._expected = 0.0

    def late(self, now: float, seconds_left: float | None) -> bool:
        """Whether the expected end has moved by a quarter of the estimate, and by more than rounding.

        Args:
            now: The current time of any clock, in seconds.
            seconds_left: The estimate; None while there is none, and before the next sweep.
        """
        if seconds_left is None:
            self._began = None
            return False
        if self._began is None:
            self._began, self._expected = now, seconds_left
        return now - self._began + seconds_left > self._expected + max(_LATE_S, _LATE * self._expected)


class SweepSection(Panel):
    """The strip above the panels."""

    name = "sweep"
    order = 32
    fields = ("sweep", "progress", "report", "plan")

    def __init__(self, commands: Commands) -> None:
        super().__init__(commands)
        self._pace = Pace()

    def value(self) -> Any:
        """See ``ISweep`` in sweep/panel.tsx."""
        state = self._commands.state
        progress = state.progress
        running = progress is not None and state.sweep == "running"
        late = self._pace.late(time.monotonic(), progress.seconds_left if progress and running else None)
        bold, words, soft, left = sentence(state)
        left = f"slower than expected, {left}" if late else left
        share = progress.share if progress else 0.0
        failed = progress.failed / progress.candidates if progress and progress.candidates else 0.0
        said = f"{int(100 * share)} % of the expected time is over"
        said += f", {progress.failed} failed" if progress and progress.failed else ""
        bar = {"done": share * (1 - failed), "failed": share * failed, "words": said}
        return {"state": state.sweep, "bold": bold, "words": words, "soft": soft, "left": left, "bar": bar}

    def commands(self) -> Mapping[str, Command]:
        """Start and stop."""
        commands = self._commands
        return {
            "start": commands.start,
            "again": commands.again,
            "pause": commands.pause,
            "resume": commands.resume,
            "cancel": commands.cancel,
        }


def sentence(state: State) -> tuple[str, str, str, str]:
    """The state of the sweep: bold text, normal text, muted text, and the time left."""
    measured, failed, _total = counts(state)
    match state.sweep:
        case "idle":
            return "", "", "", ""
        case "starting":
            return "Starting the sweep", "", "", ""
        case "cancelling":
            return "Cancelling", "; everything finished is kept", "", ""
        case "paused":
            return "Paused", f" · {_reached(state)} · finished ones are safe", "", ""
        case "cancelled":
            return "Cancelled", f" · {_reached(state)} · nothing is lost", "", ""
        case "failed":
            return "Stopped", f" · {_reached(state)} · nothing finished is lost", "", ""
        case "done":
            said = f", {failed} failed" if failed else ""
            return f"Done: {measured} measured", f"{said}, {duration(state.took_s)}.", "", ""
        case _:
            return _running(state)


def _reached(state: State) -> str:
    return reached(state.progress) if state.progress and state.progress.candidates else "nothing measured yet"


def _running(state: State) -> tuple[str, str, str, str]:
    progress = state.progress
    if progress is None:
        return "Starting processes", "", "", ""
    soft = f" · {progress.failed} failed" if progress.failed else ""
    seconds = progress.seconds_left
    left = "estimating time left" if seconds is None else f"about {duration(seconds)} left"
    bold = "Preparing" if progress.phase == "plan" else reached(progress)
    return bold, f" · {progress.doing}", soft, left  # the strip has no room for the detail


def counts(state: State) -> tuple[int, int, int]:
    """Counts of fully measured, failed and all candidates: of this sweep, or of what the store has.

    Only the candidates of this sweep count, not those of other sweeps in the same store.
    """
    progress = state.progress
    if progress is not None and progress.candidates and state.sweep != "idle":
        if state.sweep == "done":
            return progress.candidates - progress.failed, progress.failed, progress.candidates
        done = progress.timed
        return max(0, min(done, progress.candidates - progress.failed)), progress.failed, progress.candidates
    rows = state.report.rows if state.report else ()
    measured = sum(r.status in {"measured", "stopped"} for r in rows)
    failed = sum(r.status == "failed" for r in rows)
    planned = len(state.plan.candidates) if state.plan else 0
    return measured, failed, max(len(rows), planned if not rows or state.sweeping else 0)


ADAPTER = SweepSection

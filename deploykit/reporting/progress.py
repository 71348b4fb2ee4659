"""Progress of long work as text: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from deploykit.reporting.events import OnProgress, Progress

_LINE_EVERY_S = 5.0
_BAR = 24
#: Phases that get a line as they begin; building and evaluating take turns.
_STAGES = ("latency", "done", "cancelled", "failed")


def line(progress: Progress) -> str:
    """One line: what runs now, what is done and left."""
    if progress.phase == "cancelled":  # the words say so already
        return progress.doing
    if progress.phase == "failed":
        return f"stopped: {progress.doing}" if progress.doing else "stopped"
    if progress.phase == "done":
        return f"done: {progress.doing}"
    doing = f"{progress.doing} ({progress.detail})" if progress.detail else progress.doing
    parts = [reached(progress), doing] if progress.candidates else [doing]
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if progress.seconds_left is not None:
        parts.append(f"about {duration(progress.seconds_left)} left")
    return " · ".join(parts)


def reached(progress: Progress) -> str:
    """How far this run's candidates are: ``"12 built · 8 timed of 18"``."""
    timing = progress.timed or progress.phase == "latency"
    last = f"{progress.timed} timed" if timing else f"{progress.evaluated} evaluated"
    return f"{progress.built} built · {last} of {progress.candidates}"


def duration(seconds: float) -> str:
    """Two units at most: whole seconds below 10 s, steps of 5 s below a minute and of 10 s above."""
    if seconds < 57.5:
        return f"{max(1, round(seconds)) if seconds < 10 else 5 * round(seconds / 5)} s"
    minutes, rest = divmod(10 * round(seconds / 10), 60)
    hours, minutes = divmod(int(minutes), 60)
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min {rest:.0f} s" if rest else f"{minutes} min"


class TerminalBar:
    """A bar that rewrites its line."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._lock = threading.Lock()
        self._shown = 0.0

    def __call__(self, progress: Progress) -> None:
        """Show the state; at most ten times per second."""
        with self._lock:
            if not progress.ended and time.monotonic() - self._shown < 0.1:
                return
            self._shown = time.monotonic()
            full = round(_BAR * min(progress.share, 1.0))
            text = f"{'█' * full}{'░' * (_BAR - full)} {line(progress)}"
            width = shutil.get_terminal_size().columns - 1
            text = text if len(text) <= width else text[: width - 1] + "…"
            self._stream.write(f"\r\x1b[K{text}" + ("\n" if progress.ended else ""))
            self._stream.flush()


class Lines:
    """A line every few seconds: for logs, notebooks and pipes. Phases alternate while much is built and evaluated."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._shown = 0.0
        self._stage: str | None = None

    def __call__(self, progress: Progress) -> None:
        """Print the state when it is time."""
        with self._lock:
            now = time.monotonic()
            stage = progress.phase if progress.phase in _STAGES else ""
            if stage == self._stage and now - self._shown < _LINE_EVERY_S:
                return
            self._shown, self._stage = now, stage
            share = f"[{int(100 * progress.share):3d} %] " if progress.candidates else ""
            print(share + line(progress), file=self._stream or sys.stdout, flush=True)


@contextmanager
def automatic(progress: OnProgress | None) -> Iterator[OnProgress]:
    """The given callback, or what suits where this runs: a bar in a terminal, lines elsewhere."""
    if progress is not None:
        yield progress
    elif sys.stderr is not None and sys.stderr.isatty() and "ipykernel" not in sys.modules:
        yield TerminalBar()
    else:
        yield Lines()

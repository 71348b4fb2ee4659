"""What long work says while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from deploykit.core.serial import Plain


@dataclass(frozen=True)
class Progress(Plain):
    """State of a sweep, sent whenever it changes.

    Attributes:
        phase: What kind of work runs now, or how it has ended: ``"cancelled"`` by the user, ``"failed"`` by an error.
        doing: What runs now, in words.
        detail: More about it where there is room, for example which process is waited for.
        done: Units of work finished.
        total: Units of work known.
        reused: Units that were found finished.
        failed: Candidates that failed so far.
        seconds_left: Estimate of the rest, to the very end; None while it is not known.
        changed: Keys of candidates whose row is new or changed.
        share: Share of the time that is over, by the estimate; it never becomes less.
        candidates: Candidates of this run; an earlier one's in the same store do not count.
        built: How many of them are built.
        evaluated: How many of them have a score.
        timed: How many of them have a latency, if only a provisional one.
    """

    phase: Literal["plan", "build", "accuracy", "latency", "done", "cancelled", "failed"]
    doing: str
    done: int
    total: int
    reused: int = 0
    failed: int = 0
    seconds_left: float | None = None
    changed: tuple[str, ...] = ()
    share: float = 0.0
    candidates: int = 0
    built: int = 0
    evaluated: int = 0
    timed: int = 0
    detail: str = ""

    @property
    def ended(self) -> bool:
        """Whether this is the last that is said."""
        return self.phase in {"done", "cancelled", "failed"}


#: Called from a worker thread: it must be quick and must not raise.
OnProgress = Callable[[Progress], None]

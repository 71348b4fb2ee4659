"""An alarm: what is not as it was when the model was exported, since when, and what it costs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from deploykit.core.serial import Plain

#: What an alarm can be about → in words.
KINDS = {
    "drift": "Inputs are unlike the reference",
    "client": "A client's requests are unlike the reference",
    "accuracy": "The model is wrong more often",
    "errors": "Requests fail",
    "latency": "Slower than when exported",
    "silence": "No more requests",
    "memory": "Memory grows",
    "disk": "The disk fills up",
    "machine": "The machine is throttled or shared",
    "clock": "The clock jumped",
}


@dataclass(frozen=True)
class Alarm(Plain):
    """One alarm. Times are seconds since 1970.

    Attributes:
        kind: What it is about, a key of ``KINDS``.
        model: Name of the model; "" for the whole server.
        version: Its version.
        subject: What of it, for example ``"run"`` for a stage; with the three above it says which alarm this is.
        text: What was found, in a sentence with its numbers.
        since: When it began, as well as that can be estimated.
        raised: When it was raised.
        ended: When it was over; None while it lasts.
        share: Share of the requests since then that it concerns, 0 to 1; None where that cannot be said.
        loss: Estimated loss of accuracy since then, as a share of the examples; for regression, how much the error has
            grown, relative to before. None where it cannot be estimated.
        details: More numbers.

    Example:
        >>> from deploykit.monitoring.operation.alarms import Alarm
        >>> Alarm("errors", "digits", "1", "", "3 % of the requests failed.", since=0.0, raised=60.0).ongoing
        True
    """

    kind: str
    model: str
    version: str
    subject: str
    text: str
    since: float
    raised: float
    ended: float | None = None
    share: float | None = None
    loss: float | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Which alarm this is: there is at most one that lasts."""
        return self.kind, self.model, self.version, self.subject

    @property
    def ongoing(self) -> bool:
        """Whether it lasts."""
        return self.ended is None

    @property
    def title(self) -> str:
        """What it is about, in words."""
        return KINDS.get(self.kind, self.kind)

    def __str__(self) -> str:
        where = f"{self.model}/{self.version}: " if self.model else ""
        over = "" if self.ongoing else f" Over at {clock(self.ended or 0.0)}."
        share = "" if self.share is None else f" {self.share:.0%} of the requests since then."
        loss = "" if self.loss is None else f" Estimated loss: {100 * self.loss:.1f} points."
        return f"{where}{self.title} since {clock(self.since)}. {self.text}{share}{loss}{over}"


def clock(moment: float) -> str:
    """A moment as people say it: the time of day, with the date unless it is today. Local time."""
    then, now = time.localtime(moment), time.localtime()
    return time.strftime("%H:%M:%S" if then[:3] == now[:3] else "%Y-%m-%d %H:%M:%S", then)

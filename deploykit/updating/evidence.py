"""Whether a version on trial is good enough, decided as soon as the evidence suffices and valid at any time.

What is counted comes in kinds with a loss each: a copied request of which both answers agree loses 0, one that differs
1; a labeled one that only the incumbent gets right loses 1, one that only the challenger gets right -1. Two bets are
made on every outcome: that the mean loss is below the limit, and that it is above. If it is not, the wealth of such a
bet exceeds 1/α with a probability of at most α, however often it is looked at (Ville's inequality; Waudby-Smith and
Ramdas, JRSS B 86, 2024). The stakes are mixed over a fixed grid, so only the counts matter: not their order, and not
on which worker or server they were counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from deploykit.core.errors import SettingError
from deploykit.core.serial import Plain

TrialVerdict = Literal["promote", "reject", "undecided"]
#: Stakes, as shares of the smallest one with which an outcome could take all. Few, since each one that is mixed in
#: costs evidence. A mean far below its limit deserves a large one; above a small limit there is room for means that are
#: far beyond.
_BELOW = (0.95, 0.75, 0.5, 0.25, 0.1)
_ABOVE = (0.5, 0.25, 0.12, 0.06, 0.03, 0.015)


@dataclass(frozen=True)
class TrialEvidence(Plain):
    """Counts of a trial, and what they show.

    Attributes:
        question: What is counted, for people.
        limit: Mean loss above which the challenger is rejected, and below which it is promoted.
        losses: Kind of outcome → its loss.
        counts: Kind of outcome → how often it was counted.
        alpha: Largest probability of promoting one beyond the limit, and of rejecting one within it.

    Example:
        >>> shadow = dk.types.TrialEvidence.agreement().with_counts({"same": 2000, "differs": 4})
        >>> shadow.verdict, shadow.with_counts({"same": 60, "differs": 9}).verdict
        ('promote', 'reject')
    """

    question: str
    limit: float
    losses: dict[str, float]
    counts: dict[str, int] = field(default_factory=dict)
    alpha: float = 0.01

    def __post_init__(self) -> None:
        if not min(self.losses.values()) < self.limit < max(self.losses.values()):
            raise SettingError(f"The limit {self.limit!r} must lie between the smallest loss and the largest.")
        if not 0 < self.alpha < 1:
            raise SettingError(f"The error rate alpha must be above 0 and below 1, got {self.alpha!r}.")

    @classmethod
    def agreement(cls, limit: float = 0.02, alpha: float = 0.01) -> TrialEvidence:
        """A shadow's copies without labels: ``same`` and ``agrees``, ``differs`` and ``failed``."""
        losses = {"same": 0.0, "agrees": 0.0, "differs": 1.0, "failed": 1.0}
        return cls("answers that differ from the incumbent's", limit, losses, alpha=alpha)

    @classmethod
    def labeled(cls, margin: float = 0.01, alpha: float = 0.01) -> TrialEvidence:
        """Labeled requests that both answered: ``both``, ``neither``, ``worse`` and ``better``."""
        losses = {"both": 0.0, "neither": 0.0, "worse": 1.0, "better": -1.0}
        return cls("accuracy lost", margin, losses, alpha=alpha)

    @classmethod
    def failures(cls, limit: float = 0.01, alpha: float = 0.01) -> TrialEvidence:
        """A canary's own requests: ``answered`` and ``failed``."""
        return cls("requests that failed", limit, {"answered": 0.0, "failed": 1.0}, alpha=alpha)

    def with_counts(self, counts: Mapping[str, int]) -> TrialEvidence:
        """The same question with other counts; kinds that it does not ask for are left out."""
        kept = {kind: int(counts.get(kind, 0)) for kind in self.losses}
        return TrialEvidence(self.question, self.limit, self.losses, kept, self.alpha)

    @property
    def count(self) -> int:
        """Outcomes that were counted."""
        return sum(self.counts.values())

    @property
    def mean(self) -> float:
        """Their mean loss, 0 without any."""
        total = sum(self.losses[kind] * count for kind, count in self.counts.items())
        return total / self.count if self.count else 0.0

    @property
    def log_e_below(self) -> float:
        """Log of the e-value against "the mean loss is at the limit or above"."""
        return self._log_e(sign=-1)

    @property
    def log_e_above(self) -> float:
        """Log of the e-value against "the mean loss is at the limit or below"."""
        return self._log_e(sign=1)

    def _log_e(self, sign: int) -> float:
        gains = {kind: sign * (loss - self.limit) for kind, loss in self.losses.items()}
        most = 1 / -min(gains.values())  # with which the worst outcome would take all
        logs = [
            sum(count * math.log1p(stake * most * gains[kind]) for kind, count in self.counts.items() if count)
            for stake in (_ABOVE if sign > 0 else _BELOW)
        ]
        top = max(logs)
        return top + math.log(sum(math.exp(one - top) for one in logs) / len(logs))

    @property
    def verdict(self) -> TrialVerdict:
        """What may be said."""
        if self.log_e_above >= -math.log(self.alpha):
            return "reject"
        return "promote" if self.log_e_below >= -math.log(self.alpha) else "undecided"

    def __str__(self) -> str:
        return (
            f"{100 * self.mean:.2f} % {self.question} in {self.count:,} requests, limit {100 * self.limit:g} %: "
            f"{self.verdict} (e-values {_power(self.log_e_below)} for below, {_power(self.log_e_above)} for above; "
            f"{1 / self.alpha:,.0f} decides)"
        )


def _power(log: float) -> str:
    return f"{math.exp(log):.3g}" if log < 20 else f"10^{log / math.log(10):.0f}"

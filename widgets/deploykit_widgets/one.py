"""One candidate that is run again, by the same sweep as all others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from deploykit.core.errors import SettingError
from deploykit.core.space import Space
from deploykit.reporting.report import Report

#: What a user may ask for; fewer than two give no interval.
LAUNCHES = (2, 1000)


@dataclass(frozen=True)
class One:
    """What to run.

    Attributes:
        space: The candidate's, and that of the baseline it is timed with.
        launches: How often.
        options: Further arguments of ``dk.sweep``.
    """

    space: Space
    launches: int
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, report: Report, key: str, launches: int) -> Self:
        """A failed candidate once more; a measured one with twice the launches it had, and no fewer than usual.

        Args:
            report: Where it is.
            key: Which one.
            launches: What is usual.

        Raises:
            SettingError: No such candidate, or more launches cannot be asked for.
        """
        row = report.row(key)
        # With the baseline's target, which so stays the one that all are compared with.
        targets = tuple(dict.fromkeys((report.row(report.baseline).candidate.target, row.candidate.target)))
        space = Space((row.candidate.recipe,), targets)
        latency = row.measurement.latency if row.measurement else None
        if row.status == "failed" or latency is None:
            return cls(space, launches)
        wanted = 2 * max(latency.launches, launches)
        if wanted > LAUNCHES[1]:
            raise SettingError(
                f"{row.label} was launched {latency.launches} times already.",
                remedy="more would tell little: quieten the machine instead.",
            )
        return cls(space, wanted, {"adaptive": False})

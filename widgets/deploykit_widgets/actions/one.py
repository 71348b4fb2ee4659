"""Running one candidate again, with the same kind of sweep as all others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from deploykit.core.errors import SettingError
from deploykit.core.space import Space
from deploykit.reporting.report import Report

#: Allowed numbers of launches; fewer than two give no interval.
LAUNCHES = (2, 1000)


@dataclass(frozen=True)
class One:
    """What to run.

    Attributes:
        space: The candidate, and the baseline it is timed with.
        launches: Number of launches.
        options: Further arguments of ``dk.sweep``.
    """

    space: Space
    launches: int
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, report: Report, key: str, launches: int) -> Self:
        """Retry a failed candidate, or time a measured one with twice its launches (at least the usual number).

        Args:
            report: The report it is in.
            key: Key of the candidate.
            launches: The usual number of launches.

        Raises:
            SettingError: No such candidate, or it already had the most launches possible.
        """
        row = report.row(key)
        # Includes the baseline's target, so that it stays the one all candidates are compared with.
        targets = tuple(dict.fromkeys((report.row(report.baseline).candidate.target, row.candidate.target)))
        space = Space((row.candidate.recipe,), targets)
        latency = row.measurement.latency if row.measurement else None
        if row.status == "failed" or latency is None:
            return cls(space, launches)
        wanted = 2 * max(latency.launches, launches)
        if wanted > LAUNCHES[1]:
            raise SettingError(
                f"{row.label} already had {latency.launches} launches.",
                remedy="more would add little: make the machine quieter instead.",
            )
        return cls(space, wanted, {"adaptive": False})

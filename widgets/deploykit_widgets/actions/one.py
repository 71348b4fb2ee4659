"""Running one candidate again, with the same kind of sweep as all others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from deploykit.core.errors import SettingError
from deploykit.core.space import Space
from deploykit.reporting.report import Report

#: More launches than this add nothing.
_MOST_LAUNCHES = 1000


@dataclass(frozen=True)
class One:
    """What to run.

    Attributes:
        space: The candidate, and the baseline it is timed with.
        options: Arguments of ``dk.sweep`` in place of those of the panel.
    """

    space: Space
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
            return cls(space)
        wanted = 2 * max(latency.launches, launches)
        if wanted > _MOST_LAUNCHES:
            raise SettingError(
                f"{row.label} already had {latency.launches} launches.",
                remedy="more would add little: make the machine quieter instead.",
            )
        return cls(space, {"launches": wanted, "adaptive": False})

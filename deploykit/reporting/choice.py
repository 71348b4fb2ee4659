"""One chosen candidate, and what can be done with it."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.choosing.goals import Decision, Goal
from deploykit.core.artifact import Exportable
from deploykit.core.errors import ExportError, GoalMissed
from deploykit.core.result import Measurement, Result
from deploykit.reporting import explain as words
from deploykit.reporting.table import CSS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.reporting.report import Report


@dataclass(frozen=True)
class Choice:
    """A candidate of a report.

    Attributes:
        report: Where it comes from.
        result: Its row.
        goal: What was wanted.
        decision: Why it was chosen; None when it was picked by its key.
    """

    report: Report
    result: Result
    goal: Goal
    decision: Decision | None = None

    @property
    def key(self) -> str:
        """The candidate's key."""
        return self.result.key

    @property
    def met(self) -> bool:
        """Whether the goal is surely met."""
        return self.decision.met if self.decision else self._inside()

    @property
    def reason(self) -> str:
        """Why it was chosen, or why the goal is missed."""
        return self.decision.reason if self.decision else "picked by its key."

    @property
    def measurement(self) -> Measurement | None:
        """What was measured."""
        return self.result.measurement

    def explain(self) -> str:
        """Why it is what it is, in plain sentences."""
        return "\n".join(self._sentences())

    def require(self) -> Choice:
        """The choice itself.

        Raises:
            GoalMissed: It does not surely meet the goal.
        """
        if not self.met:
            raise GoalMissed(self.reason, remedy="raise max_drop=, add techniques or data, or take the best so far.")
        return self

    def exportable(self) -> Exportable:
        """File and facts, for `deploykit.export`.

        Raises:
            ExportError: The candidate has no file (it failed), or its file is gone.
        """
        row = self.result
        path = self.report.path / row.artifact
        if row.status == "failed" or not row.artifact or not path.exists():
            cause = row.failure.cause if row.failure else "its file is not in the store"
            raise ExportError(
                f"{row.label} ({row.key}) cannot be exported: {cause}.", remedy="choose another candidate."
            )
        model = self.report.model
        return Exportable(
            path, row.format, model.name, row.candidate.recipe, row.candidate.target, model, self.report.data, row,
            tuple(self.report.ranked(self.goal)),
        )  # fmt: skip

    def save(self, path: str | Path) -> Path:
        """Write just the model file (or folder), without manifest; verified as exports are.

        Raises:
            ExportError: The ending does not fit the format, or the place cannot be written.
        """
        from deploykit.exporters._export import save_file

        return save_file(self.exportable(), path)

    def predict(self, x: Any) -> dict[str, NDArray[Any]]:
        """Outputs by name for raw examples, computed in a child process.

        Args:
            x: Raw examples, batch first; a dictionary by input name for several inputs.
        """
        from deploykit.measuring.predict import predict

        return predict(self.exportable(), x)

    def _inside(self) -> bool:
        measurement = self.result.measurement
        return measurement is not None and measurement.score.drop.high <= self.goal.max_drop

    def _sentences(self) -> list[str]:
        return words.sentences(self.result, self.decision, self.goal, relative=self.report.relative)

    def __repr__(self) -> str:
        state = "" if self.met else ", goal missed"
        return f"Choice({self.result.label} on {self.result.candidate.target}, {self.key}{state})"

    def _repr_html_(self) -> str:
        first, *rest = (html.escape(line) for line in self._sentences())
        items = "".join(f"<li>{line}</li>" for line in rest)
        return f'<style>{CSS}</style><div class="dk-report"><b>{first}</b><ul>{items}</ul></div>'

"""One chosen candidate, and what can be done with it."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.choosing.goals import Decision, Goal
from deploykit.core.artifact import Exportable
from deploykit.core.candidate import Recipe
from deploykit.core.errors import CandidateError, ExportError, GoalMissed
from deploykit.core.result import Measurement, Result
from deploykit.core.store import Store
from deploykit.measuring.profile_match import Comparison
from deploykit.reporting import explain as words
from deploykit.reporting import layers
from deploykit.reporting.drawing import shown
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

    def suggested(self) -> list[Recipe]:
        """Recipes that would mend what the profile found, as far as they are not in the report.

        To try them: ``dk.sweep(model, data, dk.Space(best.suggested(), [best.result.candidate.target]), store=store)``.
        """
        target = self.result.candidate.target
        tried = {r.candidate.recipe.key for r in self.report.rows if r.candidate.target == target}
        found = self.measurement.findings if self.measurement else ()
        fixes = {f.fix.key: f.fix for f in found if f.fix is not None}
        return [recipe for key, recipe in fixes.items() if key not in tried]

    def layers(self) -> list[dict[str, Any]]:
        """The time of each layer beside that of float32 on the same runtime, as flat records; units are in the names.

        Raises:
            CandidateError: There is no profile of this candidate.
        """
        return layers.records(self._comparison())

    def chart_layers(self, *, top: int = 15, dark: bool = False) -> Any:
        """Time of the slowest layers, float32 and this candidate side by side (Altair).

        Args:
            top: How many layers; the rest is summed up.
            dark: Colors for a dark background.

        Raises:
            CandidateError: There is no profile of this candidate.
        """
        return shown(layers.chart(self._comparison(), top=top, dark=dark))

    def _comparison(self) -> Comparison:
        key = self.measurement.profile if self.measurement else ""
        if not key:
            raise CandidateError(
                f"there is no profile of {self.result.label} on {self.result.candidate.target}.",
                remedy="profiles need a runtime that tells the time of single nodes (onnxruntime, openvino), and the "
                "model as given on the same runtime to compare with.",
            )
        store = Store(self.report.path)
        try:
            return Comparison.from_json(store.record("profile", key))
        finally:
            store.close()

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
        same = {
            r.candidate.recipe.key: r for r in self.report.rows if r.candidate.target == self.result.candidate.target
        }
        return words.sentences(self.result, self.decision, self.goal, relative=self.report.relative, known=same)

    def __repr__(self) -> str:
        state = "" if self.met else ", goal missed"
        return f"Choice({self.result.label} on {self.result.candidate.target}, {self.key}{state})"

    def _repr_html_(self) -> str:
        first, *rest = (html.escape(line) for line in self._sentences())
        items = "".join(f"<li>{line}</li>" for line in rest)
        return f'<style>{CSS}</style><div class="dk-report"><b>{first}</b><ul>{items}</ul></div>'

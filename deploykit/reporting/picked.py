"""One candidate of a sweep, and what can be done with it."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from deploykit.choosing.goals import Decision, Goal
from deploykit.core.candidate import Recipe
from deploykit.core.errors import CandidateError, ExportError, GoalMissed
from deploykit.core.result import Measurement, Result
from deploykit.measuring.answers import read_as, scored_of
from deploykit.measuring.exportable import Exportable
from deploykit.measuring.profile_match import Comparison
from deploykit.reporting import explain as words
from deploykit.reporting import losing, numbers, verdict
from deploykit.reporting.evidence import channels, class_changes, layers
from deploykit.reporting.evidence.compared import Compared
from deploykit.reporting.evidence.naming import named
from deploykit.reporting.places import place
from deploykit.reporting.swept import Swept
from deploykit.reporting.verdict import Verdict
from deploykit.reporting.views.drawing import shown
from deploykit.reporting.views.table import CSS
from deploykit.storage.store import Store

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Picked(Compared):
    """A candidate of a sweep. `Choice` is one of a report.

    Attributes:
        report: What it is from.
        result: Its row.
        goal: The goal.
        decision: Why it was chosen; None if it was picked by its key.
    """

    report: Swept
    result: Result
    goal: Goal
    decision: Decision | None = None

    @property
    def met(self) -> bool:
        """Whether the goal is met (95 % confidence)."""
        return self.decision.met if self.decision else self._inside()

    @property
    def reason(self) -> str:
        """Why it was chosen, or why the goal is missed."""
        return self.decision.reason if self.decision else "picked by its key."

    @property
    def measurement(self) -> Measurement | None:
        """Its measurement."""
        return self.result.measurement

    def explain(self) -> str:
        """Why it is faster or slower, better or worse, in plain sentences."""
        return "\n".join(self._sentences())

    def suggested(self) -> list[Recipe]:
        """Recipes that would fix what the profile found or what int8 loses, unless they are already in the report.

        To try them: ``dk.sweep(model, data, dk.Space(best.suggested(), [best.result.candidate.target]), store=store)``.
        """
        target = self.result.candidate.target
        tried = {r.candidate.recipe.key for r in self.report.rows if r.candidate.target == target}
        found = self.measurement.findings if self.measurement else ()
        fixes = {f.fix.key: f.fix for f in found if f.fix is not None}
        careful = losing.remedy(self.report.rows, self.goal) if self.decision else None
        if careful is not None and careful.target == target:
            fixes[careful.recipe.key] = careful.recipe
        return [recipe for key, recipe in fixes.items() if key not in tried]

    def layers(self) -> list[dict[str, Any]]:
        """The time of each layer, with that of float32 on the same runtime, as flat records with units in the names.

        Raises:
            CandidateError: There is no profile of this candidate.
        """
        return layers.records(self._comparison())

    def chart_layers(self, *, top: int = 15, dark: bool = False) -> Any:
        """Time of the slowest layers, float32 and this candidate side by side (Altair).

        Args:
            top: Number of layers; the rest are summed up.
            dark: Colors for a dark background.

        Raises:
            CandidateError: There is no profile of this candidate.
        """
        return shown(layers.chart(self._comparison(), top=top, dark=dark))

    def channels(self) -> dict[str, tuple[int, int]]:
        """Channels of each layer that has lost some, in the original and in this candidate; {} when none has."""
        return channels.counts(self.result)

    def chart_channels(self, *, dark: bool = False) -> Any:
        """Channels of each layer, in the original and in this candidate side by side (Altair).

        Args:
            dark: Colors for a dark background.

        Raises:
            CandidateError: None of its steps has removed channels.
        """
        return shown(channels.chart(self.result, dark=dark))

    def verdict(self) -> Verdict:
        """The verdict for its goal, in one sentence with its numbers."""
        return self._verdict(missed=self.decision is not None and not self.decision.met)

    def _verdict(self, *, missed: bool, causes: bool = True) -> Verdict:
        return verdict.verdict(
            self.result, self.goal, relative=self.report.relative, baseline=self.key == self.report.baseline,
            best=missed, causes=causes, home=self.report.home,
        )  # fmt: skip

    def compare(self, other: Picked) -> str:
        """Compare another candidate (B) with this one (A), in one or two sentences.

        Raises:
            SettingError: ``other`` belongs to a different model or different data.
        """
        self._other(other)
        return verdict.compare(self.result, other.result, self.goal, relative=self.report.relative)

    def _comparison(self) -> Comparison:
        key = self.measurement.profile if self.measurement else ""
        record = Store(self.report.path).record("profile", key) if key else None
        if record is None:
            raise CandidateError(
                f"There is no profile of {self.result.label} on {self.result.candidate.target}.",
                remedy="profiles need a runtime with a per-layer profiler (onnxruntime, openvino), and the "
                "original model on the same runtime to compare with.",
            )
        return named(Comparison.from_json(record), self.report.model.layers)

    def require(self, *, min_speedup: float = 0.0) -> Self:
        """The choice itself if it meets the goal.

        Args:
            min_speedup: Smallest speed-up over the original model, at the far end of the interval.

        Raises:
            GoalMissed: It is not confirmed to meet the goal or to be that fast.
        """
        if not self.met:
            raise GoalMissed(self.reason, remedy="raise max_drop=, add techniques or data, or take the best so far.")
        latency = self.measurement.latency if self.measurement else None
        sure = latency.speedup.low if latency else 0.0
        if sure < min_speedup:
            known = f"is confirmed to be {numbers.fixed(sure, 2)}× as fast as the original model (95 % confidence)"
            found = known if latency else "has no measured latency"
            raise GoalMissed(
                f"{self.result.label} on {place(self.result.candidate.target)} {found}; min_speedup={min_speedup:g} "
                "was asked for.",
                remedy="lower min_speedup=, raise max_drop=, or add techniques or runtimes.",
            )
        return self

    def exportable(self) -> Exportable:
        """File and facts, for `deploykit.export`.

        Raises:
            ExportError: The candidate has no file (it failed), or its file is gone or has changed.
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
            tuple(self.report.ranked(self.goal)), self.report.check, class_changes.rows_of(self.classes),
            row.artifact_digest if Path(row.artifact).is_absolute() else "",
        ).unchanged()  # fmt: skip

    def save(self, path: str | Path) -> Path:
        """Write only the model file (or folder), without a manifest; it is verified like an export.

        A SavedModel may also be saved as a frozen graph: give a name that ends in ``.pb``.

        Raises:
            ExportError: The extension does not fit the format, or the path cannot be written.
        """
        from deploykit.exporters._save import save_file

        return save_file(self.exportable(), path)

    def predict(self, x: Any) -> dict[str, NDArray[Any]]:
        """Outputs by name for raw examples, in the order of the original's outputs, computed in a child process.

        Args:
            x: Raw examples, batch first; a dictionary by input name for several inputs.
        """
        from deploykit.measuring.predict import predict

        return predict(self.exportable(), x)

    def predict_scores(self, x: Any) -> NDArray[Any]:
        """The scored output for raw examples as metrics read it; see `predict` and `scores`."""
        contract = self.report.contract
        return read_as(scored_of(self.predict(x), contract), contract)

    def _inside(self) -> bool:
        measurement = self.result.measurement
        if measurement is None or measurement.score.drop.high > self.goal.max_drop:
            return False
        return not measurement.ruined(self.goal.max_output_error, self.goal.min_agreement)

    def _sentences(self) -> list[str]:
        same = {
            r.candidate.recipe.key: r for r in self.report.rows if r.candidate.target == self.result.candidate.target
        }
        said = self._verdict(missed=False, causes=False)  # both have lines of their own
        lines = words.sentences(
            self.result, self.decision, said, relative=self.report.relative, known=same, home=self.report.home,
            price_per_hour=self.goal.price_per_hour,
        )  # fmt: skip
        lost = losing.sentence(self.report.rows, self.goal, relative=self.report.relative) if self.decision else ""
        return [*lines, lost] if lost else lines

    def __repr__(self) -> str:
        state = "" if self.met else ", goal missed"
        return f"Choice({self.result.label} on {self.result.candidate.target}, {self.key}{state})"

    def _repr_html_(self) -> str:
        first, *rest = (html.escape(line) for line in self._sentences())
        items = "".join(f"<li>{line}</li>" for line in rest)
        return f'<style>{CSS}</style><div class="dk-report"><b>{first}</b><ul>{items}</ul></div>'

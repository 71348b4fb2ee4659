"""What tuning found: rows, the choice, and how both are shown."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Artifact
from deploykit.core.errors import GoalMissed, SettingError
from deploykit.core.serial import Plain
from deploykit.core.settings.serving import ServingSettings
from deploykit.reporting import numbers
from deploykit.reporting.places import runtime_label
from deploykit.reporting.views.drawing import shown
from deploykit.reporting.views.html import pictures
from deploykit.serving.tuning import view
from deploykit.serving.tuning.grid import TuningGrid
from deploykit.serving.tuning.rows import TuningRow, choose, p99_of, rate_of

if TYPE_CHECKING:
    import pandas as pd

#: Version of the JSON that `Tuning.to_json` gives.
SCHEMA = 1
#: Times that p99 may rest on before it is doubted.
_FEW = 1000
#: Half-width of the rate's interval, as a share of it, from which on the machine is called unsteady.
_UNSTEADY = 0.1
#: Share of its core from which on sending may be what limits the rate.
_BUSY = 0.9
#: Share of a request's time from which on a stage is what to look at first.
_LARGE = 0.4
_ADVICE = {
    "decode": "reading requests takes most of the time: binary tensors are read faster than JSON",
    "queue": "requests mostly wait for their turn: a faster model or more cores would raise the rate",
    "run": "the model takes most of the time: a cheaper model would raise the rate",
    "encode": "writing answers takes most of the time: clients can ask for fewer outputs, or for binary tensors",
}


@dataclass(frozen=True)
class Tuning(Plain):
    """What `tune` found.

    Attributes:
        artifact: Folder of the artifact that was tuned, or that was made of the choice; "" when there is none.
        name: Name of the model.
        candidates: Runtime → key of the report's candidate that runs on it; empty for an artifact.
        p99_ms: The limit that p99 must hold.
        grid: All that could have been measured.
        rows: What was measured, in that order.
        rounds: Rounds that were measured in all.
        whole: Rounds that measuring the whole grid would have taken.
        baseline: The settings that a server has without tuning.
        requests: What was sent: ``"binary"`` or ``"json"``.
        environment: Machine and versions.
        finished: Whether it ran to its end.
        schema: Version of this layout.

    Example:
        >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        >>> artifact = dk.export(built, "exported/tuning", overwrite=True)
        >>> tuning = dk.tune(artifact, p99_ms=60_000, concurrency=[2], workers=[1], threads=[1], seconds=0.05)
        ONNX Runtime...
        >>> tuning.met, tuning.best.settings.workers
        (True, 1)
    """

    artifact: str
    name: str
    candidates: dict[str, str]
    p99_ms: float
    grid: TuningGrid
    rows: tuple[TuningRow, ...]
    rounds: int
    whole: int
    baseline: ServingSettings
    requests: str = "binary"
    environment: dict[str, Any] = field(default_factory=dict)
    finished: bool = True
    schema: int = SCHEMA

    # -- the choice -------------------------------------------------------------------------------------------------

    @property
    def best(self) -> TuningRow:
        """The highest rate whose p99 is confirmed to hold; if none is, the row that comes closest.

        Among rates that differ by less than 2 %, fewer processes and threads win.

        Raises:
            SettingError: Nothing could be measured.
        """
        return choose(self.rows, self.p99_ms)

    @property
    def met(self) -> bool:
        """Whether p99 is confirmed to hold at the best settings."""
        return self.best.holds(self.p99_ms)

    @property
    def candidate(self) -> str:
        """Key of the report's candidate that is best served; "" for an artifact."""
        return self.candidates.get(self.best.runtime, "")

    @property
    def default(self) -> TuningRow | None:
        """The most that the settings without tuning give; None when they were not measured."""
        rows = [row for row in self.rows if row.rate and self._is_default(row)]
        inside = [row for row in rows if row.holds(self.p99_ms)]
        return max(inside, key=rate_of) if inside else min(rows, key=p99_of, default=None)

    def require(self) -> None:
        """Raise `GoalMissed` unless p99 is confirmed to hold."""
        if not self.met:
            raise GoalMissed(self.explain())

    def apply(self, artifact: Artifact | str | Path | None = None) -> Artifact:
        """Write the best settings to an artifact's manifest, where `serve` finds them.

        Args:
            artifact: The artifact or its folder; None: the one that was tuned.

        Raises:
            SettingError: A report was tuned, and no artifact is given.
            ExportError: The path does not hold an artifact.
            GoalMissed: p99 is not confirmed to hold.
        """
        self.require()
        path = artifact.path if isinstance(artifact, Artifact) else artifact or self.artifact
        if not path:
            raise SettingError(
                "A report was tuned, not an artifact.",
                remedy=f"export the candidate {self.candidate}, then give the artifact; or tune with out= (--out).",
            )
        settled = Artifact.open(path).served_with(self.best.settings)
        settled.save()
        return settled

    # -- showing ----------------------------------------------------------------------------------------------------

    def explain(self) -> str:
        """What was chosen and why, in plain sentences."""
        return "\n".join(self._sentences())

    def records(self) -> list[dict[str, Any]]:
        """One flat record for each row, all with the same keys; units are in the names, unknown values are None."""
        best = self._best
        return [view.record(r, self.p99_ms, best=r is best, line=self._lines(r, best)) for r in self.rows]

    def to_frame(self) -> pd.DataFrame:
        """All rows as a data frame with flat columns, in the order of `records`."""
        import pandas as pd

        return pd.DataFrame.from_records(self.records())

    def points(self) -> list[dict[str, Any]]:
        """Plain rows of the chart: measured rows, each once for every line it is on."""
        return view.points(self.records())

    def chart(self, *, dark: bool = False) -> Any:
        """Rate against p99 with intervals (Altair): a line joins the loads of the same settings.

        Args:
            dark: Colors for a dark background.
        """
        return shown(view.chart(self.points(), self.p99_ms, summary=self._sentences()[0], dark=dark))

    def __str__(self) -> str:
        return "\n".join([view.text(self.records()), *self._sentences()])

    def __repr__(self) -> str:
        return f"Tuning({self.name!r}, p99 ≤ {self.p99_ms:g} ms, {len(self.rows)} of {self.grid.size} points)"

    def _repr_mimebundle_(self, **_options: Any) -> dict[str, Any]:
        said = self._sentences()
        drawn = pictures(lambda dark: self.chart(dark=dark)) if self._best else ""
        body = f"{drawn}<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in said)}</ul>"
        return {"text/plain": str(self), "text/html": view.page(self.records(), body)}

    @property
    def _best(self) -> TuningRow | None:
        return self.best if any(row.rate for row in self.rows) else None

    def _is_default(self, row: TuningRow) -> bool:
        same = self.grid.same_settings(self.baseline, row.concurrency)
        return row.runtime == self.grid.sources[0] and row.settings == same

    def _lines(self, row: TuningRow, best: TuningRow | None) -> list[str]:
        """The lines of the chart that a row is on."""
        found = []
        if best is not None and row.runtime == best.runtime:
            same = self.grid.same_settings(best.settings, row.concurrency)
            found = [view.BEST] if row.settings == same else []
        return [*found, *([view.DEFAULT] if self._is_default(row) and view.BEST not in found else [])]

    def _sentences(self) -> list[str]:
        best = self._best
        if best is None:
            return [f"Nothing could be measured: {len(self.rows)} settings failed."]
        assert best.rate is not None
        assert best.p99_ms is not None
        first = "Best" if self.met else "No p99 is confirmed to hold; the closest"
        said = [
            f"{first}: {runtime_label(best.runtime)} with {best.settings}: {_numbers(best)} (limit {self.p99_ms:g} ms)."
        ]
        said += self._compared(best)
        said += self._stages(best)
        share = 100 * self.rounds / self.whole
        said.append(
            f"Measured {len(self.rows)} of {self.grid.size} points in {self.rounds} rounds, {share:.0f} % of the "
            f"{self.whole:,} that all would take{'' if self.finished else '; stopped early'}."
        )
        failed = sum(row.failure is not None for row in self.rows)
        if failed:
            said.append(f"{failed} of them failed; the rows say why.")
        if best.sender_cpu > _BUSY:
            said.append("Sending took its whole core: the server may be able to do more.")
        if best.rate.half_width > _UNSTEADY * best.rate.value:
            off = 100 * best.rate.half_width / best.rate.value
            said.append(f"The rate is uncertain by {off:.0f} %: run it again when nothing else runs on this machine.")
        if best.requests < _FEW:
            said.append(f"p99 rests on {best.requests:,} requests: give more time (seconds=) to be surer.")
        return said

    def _compared(self, best: TuningRow) -> list[str]:
        default = self.default
        if default is None or default is best or default.rate is None or default.p99_ms is None:
            return []
        holds = "" if default.holds(self.p99_ms) else ", which is not confirmed to hold"
        ratio = numbers.ratio(rate_of(best) / rate_of(default))
        return [f"Without tuning ({default.settings}): {_numbers(default)}{holds}; the best has {ratio} its rate."]

    def _stages(self, best: TuningRow) -> list[str]:
        whole = sum(best.stages_ms.values())
        if not whole:
            return []
        parts = ", ".join(f"{name} {numbers.significant(ms, 2)} ms" for name, ms in best.stages_ms.items())
        joined = f"; {best.batch:.1f} examples run together" if best.batch else ""
        name = max(best.stages_ms, key=best.stages_ms.__getitem__)
        advice = f"; {_ADVICE[name]}" if best.stages_ms[name] >= _LARGE * whole and name in _ADVICE else ""
        return [f"A request's time in the server: {parts}{joined}{advice}."]


def _numbers(row: TuningRow) -> str:
    assert row.rate is not None
    assert row.p99_ms is not None
    connections = f"{row.concurrency} connection{'' if row.concurrency == 1 else 's'}"
    return f"{view.whole(row.rate)} requests/s at {connections}, p99 {numbers.milliseconds(row.p99_ms)} ms"

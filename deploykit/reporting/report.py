"""All rows of a sweep, the front, and the choice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from deploykit.choosing.goals import checked_price
from deploykit.core import extras
from deploykit.core.contract import MAX_OUTPUT_ERROR
from deploykit.core.errors import CandidateError, StoreError, unknown_name
from deploykit.core.model import Model
from deploykit.core.parameter import Value
from deploykit.core.serial import dump
from deploykit.reporting import numbers, speed, tracked
from deploykit.reporting.evidence import sensitivity_table
from deploykit.reporting.evidence.sensitivity import Sensitivity
from deploykit.reporting.evidence.sensitivity_table import SensitivityTable
from deploykit.reporting.page import notebook, page
from deploykit.reporting.picked import Picked
from deploykit.reporting.places import place
from deploykit.reporting.rows import records
from deploykit.reporting.stored import latest_pass, sweep_of
from deploykit.reporting.swept import Swept
from deploykit.reporting.views import parallel, sweet_spot, table, tradeoff
from deploykit.reporting.views.drawing import shown
from deploykit.storage.store import Store
from deploykit.trackers._contract import Logged

if TYPE_CHECKING:
    import pandas as pd

#: Version of the JSON that `Report.to_json` gives.
SCHEMA = 1


@dataclass(frozen=True, repr=False)
class Report(Swept):
    """The results of a sweep, read from a store when the report is opened. It does not change when the store does.

    If there are more than a thousand candidates, those after the first thousand are read when they are first used.

    Attributes:
        path: The store's folder.
        rows: One row per candidate, including failed ones, in the order of the plan.
        facts: Model, data, metric and baseline of the sweep.

    Example:
        >>> report = dk.Report.open("finished")
        >>> report
        Report('...finished', 20 measured)
        >>> report.metric, report.finished
        ('accuracy', True)
    """

    @classmethod
    def open(
        cls, store: str | Path, *, context: str | None = None, model: Model | None = None, data: Any = None
    ) -> Self:
        """Read the report of a store: its latest sweep, if it has sweeps of several models or datasets.

        Args:
            store: The store's folder.
            context: Name of the sweep in the store.
            model: Open the latest sweep of this model.
            data: Open the latest sweep on these data: a Dataset or a pair (x, y).

        Raises:
            StoreError: There is no store, or no such sweep in it.
        """
        extras.check("sweep")
        with Store(store) as opened:
            found = opened.sweep(context) if model is None and data is None else sweep_of(opened, model, data)
            if found is None:
                kind = "no sweep" if model is None and data is None else "no sweep of this model on these data"
                if opened.damaged:
                    kind = f"{kind} that can be read ({', '.join(opened.damaged)} is damaged)"
                raise StoreError(f"The store {opened.path} holds {kind}.", remedy="run deploykit sweep on it.")
            return cls(opened.path, opened.rows(found[0]), found[1])

    # -- choosing ---------------------------------------------------------------------------------------------------

    def best(
        self,
        *,
        minimize: str | None = None,
        max_drop: float | None = None,
        layout: str | None = None,
        max_output_error: float = MAX_OUTPUT_ERROR,
        price_per_hour: float | None = None,
        device: str | None = None,
    ) -> Choice:
        """The best candidate so far for a goal. A missed goal does not raise an error.

        Args:
            minimize: ``"latency"``, ``"size"``, ``"compressed_size"``, ``"memory"``, ``"cpu"``, ``"load"``,
                ``"energy"``, ``"cost"`` or ``"writing"`` (tokens of a decoder); None: latency, or size if the sweep did
                not measure latency.
            max_drop: Largest loss of the metric, absolute for accuracies, relative for errors; the far end of the 95 %
                interval must satisfy it. None: the one of the sweep, or 0.01.
            layout: Consider only candidates that this export layout supports.
            max_output_error: Largest error of an output that is not scored, as a share of its spread; a
                candidate that exceeds it is not chosen.
            price_per_hour: Of the machine, in any currency: ``explain`` then gives the cost of a million predictions.
            device: One of ``devices``, whose candidates compete with each other only; None: the original model's.

        Raises:
            SettingError: An unknown cost, layout or device, or a price that is not a positive number.
            CandidateError: No candidate has been measured, or the layout supports none.

        Example:
            >>> best = dk.Report.open("finished").best(minimize="latency", max_drop=0.01)
            >>> best.met
            True
        """
        goal = replace(self.goal(minimize, max_drop, price_per_hour), max_output_error=max_output_error)
        decision = self._decide(goal, layout, device)
        if decision.winner is None:
            raise CandidateError(
                f"There is nothing to choose: {decision.reason.rstrip('.')}.",
                remedy="run the sweep, or choose another layout.",
            )
        return Choice(self, decision.winner, goal, decision)

    def _measured(self, minimize: str | None = None, max_drop: float | None = None) -> Choice | None:
        """The best candidate, None if none has been measured yet."""
        measured = any(r.status == "measured" for r in self.rows)
        return self.best(minimize=minimize, max_drop=max_drop) if measured else None

    def choice_for(self, key: str, *, minimize: str | None = None, max_drop: float | None = None) -> Choice:
        """A candidate picked by its key (or the beginning of it); see `best` for the goal."""
        return Choice(self, self.row(key), self.goal(minimize, max_drop))

    def sensitivity(self, technique: str | None = None) -> Sensitivity:
        """The latest sensitivity pass over the layers of this model and data.

        Args:
            technique: Consider only this technique.

        Raises:
            StoreError: There is none.
        """
        return latest_pass(self.path, (self.model.digest, self.facts["data"]), technique)

    def sensitivity_table(self) -> SensitivityTable:
        """Layers by levels of techniques: the loss if only that layer is changed.

        The columns are all passes over the layers of this model in the store, and the levels of the report's
        candidates that no pass has measured, with empty cells.
        """
        return sensitivity_table.build(self)

    # -- showing ----------------------------------------------------------------------------------------------------

    def to_frame(self, *, price_per_hour: float | None = None) -> pd.DataFrame:
        """All rows as a data frame with flat columns, units in their names; the index is the candidate's key.

        Args:
            price_per_hour: Of the machine, for ``cost_per_million``; None: it is not known.

        Raises:
            SettingError: The price is not a positive number.

        Example:
            >>> report = dk.Report.open("finished")
            >>> int(report.to_frame().loc[report.baseline, "size_bytes"])
            706865
        """
        import pandas as pd

        found = records(self.rows, self.baseline, checked_price(price_per_hour))
        return pd.DataFrame.from_records(found, index="key")

    def chart(
        self, *, x: str = "latency", minimize: str | None = None, max_drop: float | None = None, dark: bool = False,
        device: str | None = None,
    ) -> Any:  # fmt: skip
        """The trade-off chart (Altair). A star marks the sweet spot: the best candidate within the limit.

        Args:
            x: ``"latency"``, ``"size"``, ``"compressed_size"``, ``"memory"`` or ``"cpu"``.
            minimize: The cost that the best candidate minimizes, see `best`.
            max_drop: The limit, which the chart shows, see `best`.
            dark: Colors for a dark background.
            device: Draw the candidates of this one of ``devices`` beside the original model; None: the original's.
        """
        if x not in tradeoff.AXES:
            raise unknown_name("axis", x, tradeoff.AXES)
        goal = self.goal(minimize, max_drop)
        decision = self._decide(goal, device=device)
        place = device or next(iter(self.devices), "")
        drawn = [r for r in self.rows if r.key == self.baseline or r.candidate.target.device == place]
        sweet = sweet_spot.words(numbers.limit(goal.max_drop, relative=self.relative)) if decision.met else ""
        return shown(tradeoff.chart(
            drawn, self.baseline, x=x, max_drop=goal.max_drop,
            chosen=decision.winner.key if decision.winner else "", relative=self.relative,
            higher_is_better=bool(self.facts["higher_is_better"]), dark=dark, sweet=sweet,
        ))  # fmt: skip

    def chart_settings(self, *, minimize: str | None = None, max_drop: float | None = None, dark: bool = False) -> Any:
        """Parallel coordinates (Altair): one line per candidate, across its settings and measurements.

        Settings that all candidates share are left out. On the measured axes, up is better. The thick line is the best.

        Args:
            minimize: The cost that the best candidate minimizes, see `best`.
            max_drop: The limit it must meet, see `best`.
            dark: Colors for a dark background.
        """
        winner = self._decide(self.goal(minimize, max_drop)).winner
        return shown(parallel.chart(
            self.rows, self.baseline, unit="%" if self.relative else "pp",
            higher=bool(self.facts["higher_is_better"]), chosen=winner.key if winner else "", dark=dark,
        ))  # fmt: skip

    def to_json(self, *, price_per_hour: float | None = None) -> dict[str, Any]:
        """Everything as plain data: ``schema``, ``metric``, ``metric_reason``, ``baseline``, ``best`` and ``rows``.

        Each row has ``key``, ``status``, the columns of `to_frame`, and the whole record under ``result``.

        Args:
            price_per_hour: See `to_frame`.
        """
        flat = records(self.rows, self.baseline, checked_price(price_per_hour))
        return {
            "schema": SCHEMA,
            "store": str(self.path),
            "model": self.facts["model"],
            "metric": self.metric,
            "metric_reason": self.metric_reason,
            "baseline": self.baseline,
            "best": self._chosen(),
            "contract": self.facts.get("contract"),
            "check": self.check.to_json(),
            "notes": self.notes,
            "left_out": self.facts.get("left_out", []),
            "rows": [{**record, "result": row.to_json()} for record, row in zip(flat, self.rows, strict=True)],
        }

    def save(self, path: str | Path) -> Path:
        """Write `to_json` to a file."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dump(self.to_json(), indent=True))
        return path

    def log_to(
        self,
        tracker: str,
        place: str | Path = "",
        *,
        minimize: str | None = None,
        max_drop: float | None = None,
        **settings: Value,
    ) -> Logged:
        """Log the sweep to an experiment tracker: a run for the sweep, and one for each candidate.

        What is there already is found by its key: to log again, after the sweep has gone on or not, adds nothing twice.

        Args:
            tracker: ``"mlflow"``, which also registers the best candidate as a model, or ``"tensorboard"``.
            place: MLflow's tracking address, for example ``"sqlite:///mlflow.db"``; TensorBoard's folder; "" for the
                tracker's own default, if it has one.
            minimize: The cost that the best candidate minimizes, see `best`.
            max_drop: The limit it must meet, see `best`.
            **settings: Settings of the tracker.

        Raises:
            SettingError: An unknown tracker or setting, or a place is missing.
            MissingExtraError: The tracker's extra is not installed.
            StoreError: The place cannot be written.

        Example:
            >>> print(dk.Report.open("finished").log_to("tensorboard", "runs/tensorboard"))
            /...: 21 runs written, 0 unchanged
        """
        goal = self.goal(minimize, max_drop)
        best = self._measured(minimize, max_drop)
        return tracked.log(self, tracker, str(place), settings, self._decide(goal), best)

    def to_html(
        self,
        path: str | Path | None = None,
        *,
        minimize: str | None = None,
        max_drop: float | None = None,
        price_per_hour: float | None = None,
    ) -> str:
        """A self-contained page with chart, table, choice and environment.

        Args:
            path: Where to write it; None: do not write it.
            minimize: The cost that the choice minimizes, see `best`.
            max_drop: The limit for the choice and the verdicts, see `best`.
            price_per_hour: Of the machine, for the cost of a million predictions.
        """
        goal = self.goal(minimize, max_drop, price_per_hour)

        def draw(dark: bool) -> Any:
            return self.chart(minimize=goal.minimize, max_drop=goal.max_drop, dark=dark)

        text = page(self, goal, self._measured(minimize, max_drop), draw)
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text, "utf-8")
        return text

    def __str__(self) -> str:
        shown = table.text_table(self.rows, self.metric, relative=self.relative, best=self._chosen())
        winner = self._decide(self.goal())
        said = winner.reason
        if (row := winner.winner) is not None:
            sped = speed.parts(row, self.home)
            said = f"* best so far: {row.label} on {place(row.candidate.target)}{f', {sped}' if sped else ''}: {said}"
        notes = [*filter(None, [self.metric_reason]), *self.notes]
        return "\n".join([shown, *self._left_out(), *(f"note: {n}" for n in notes), said])

    def _left_out(self) -> list[str]:
        """A line for each reason to leave combinations out, with the first of them."""
        found: dict[str, list[str]] = {}
        for one in self.facts.get("left_out", []):
            found.setdefault(one["reason"], []).append(one["label"])
        return [
            f"left out: {labels[0]}{f' and {len(labels) - 1} more' if len(labels) > 1 else ''}: {reason}"
            for reason, labels in found.items()
        ]

    def __repr__(self) -> str:
        counts = {s: sum(r.status == s for r in self.rows) for s in ("measured", "failed", "stopped", "pending")}
        return f"Report({str(self.path)!r}, {', '.join(f'{n} {s}' for s, n in counts.items() if n)})"

    def _repr_mimebundle_(self, **_options: Any) -> dict[str, Any]:
        return {
            "text/plain": str(self),
            "text/html": notebook(self, self._measured(), lambda dark: self.chart(dark=dark)),
        }


@dataclass(frozen=True, repr=False)
class Choice(Picked):
    """A candidate of a report.

    Attributes:
        report: The report it is from.
        result: Its row.
        goal: The goal.
        decision: Why it was chosen; None if it was picked by its key.

    Example:
        >>> space = dk.Space([dk.Recipe((dk.Step("quantize_dynamic"),))], [dk.Target("onnxruntime")])
        >>> report = dk.sweep(model, data, space, store="runs/chosen", launches=0)
        [...
        >>> best = report.best(minimize="size", max_drop=0.05)
        >>> best.met, best.result.label
        (True, 'int8 dynamic')
    """

    report: Report

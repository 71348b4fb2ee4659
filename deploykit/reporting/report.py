"""All rows of a sweep, the front, and the choice."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from deploykit.choosing.goals import Decision, Goal, decide
from deploykit.choosing.pareto import competing, front
from deploykit.core.candidate import Target
from deploykit.core.check import BaselineCheck
from deploykit.core.contract import MAX_OUTPUT_ERROR, Contract
from deploykit.core.errors import CandidateError, StoreError, unknown_name
from deploykit.core.model import Model
from deploykit.core.registry import registry
from deploykit.core.result import Result
from deploykit.core.serial import dump
from deploykit.data.dataset import Dataset
from deploykit.reporting import numbers, speed
from deploykit.reporting.choice import Choice
from deploykit.reporting.evidence import losing, sensitivity_table
from deploykit.reporting.evidence.sensitivity import Sensitivity
from deploykit.reporting.evidence.sensitivity_table import SensitivityTable
from deploykit.reporting.places import place
from deploykit.reporting.rows import damaged, doubts, elsewhere, records, ruined, too_few
from deploykit.reporting.stored import latest_pass, sweep_of
from deploykit.reporting.views import parallel, sweet_spot, table, tradeoff
from deploykit.reporting.views.drawing import shown
from deploykit.reporting.views.html import notebook
from deploykit.reporting.views.page import page
from deploykit.storage.rows import Rows
from deploykit.storage.store import Store

if TYPE_CHECKING:
    import pandas as pd

#: Version of the JSON that `Report.to_json` gives.
SCHEMA = 1


@dataclass(frozen=True)
class Report:
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

    path: Path
    rows: Rows
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Take any sequence of rows."""
        if not isinstance(self.rows, Rows):
            object.__setattr__(self, "rows", Rows.of(self.rows))

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
        with Store(store) as opened:
            found = opened.sweep(context) if model is None and data is None else sweep_of(opened, model, data)
            if found is None:
                kind = "no sweep" if model is None and data is None else "no sweep of this model on these data"
                if opened.damaged:
                    kind = f"{kind} that can be read ({', '.join(opened.damaged)} is damaged)"
                raise StoreError(f"The store {opened.path} holds {kind}.", remedy="run deploykit sweep on it.")
            return cls(opened.path, opened.rows(found[0]), found[1])

    # -- facts ------------------------------------------------------------------------------------------------------

    @cached_property
    def model(self) -> Model:
        """The original model."""
        return Model.from_json(self.facts["model"])

    @cached_property
    def contract(self) -> Contract:
        """How inputs, labels and outputs are interpreted.

        Raises:
            StoreError: The sweep did not record it.
        """
        if "contract" not in self.facts:
            raise StoreError(
                f"The sweep in {self.path} does not say what its inputs, labels and outputs mean.",
                remedy="run it again on another store.",
            )
        return Contract.from_json(self.facts["contract"])

    @property
    def declared(self) -> dict[str, Any]:
        """What the user declared about the signature, as arguments of ``dk.sweep``, without what was inferred."""
        said = self.facts.get("declared") or {}
        return {name: value for name, value in said.items() if value and value != "auto"}

    @cached_property
    def check(self) -> BaselineCheck:
        """What was found when the original model was run on some examples before the sweep."""
        return BaselineCheck.from_json(self.facts.get("check") or {})

    @cached_property
    def data(self) -> Dataset:
        """The data, from the store.

        Raises:
            StoreError: The store was moved without its data, or they belong to another user.
        """
        folder = self.path / self.facts["data"]
        if folder.parent.is_dir() and not os.access(folder.parent, os.X_OK):
            raise StoreError(
                f"The data in {folder.parent} can be read by their owner only.",
                remedy="ask the owner for a copy of the store, or run the same sweep yourself.",
            )
        if not (folder / "dataset.json").is_file():
            raise StoreError(
                f"The data of this sweep are not in the store {self.path}.",
                remedy="run the same sweep again with the data to make what is missing.",
            )
        return replace(Dataset.open(folder), contract=self.contract)

    @property
    def baseline(self) -> str:
        """Key of the original model on its own runtime."""
        return str(self.facts["baseline"])

    @property
    def home(self) -> Target | None:
        """Where the original model was timed; None if its row cannot be read."""
        row = self.rows.get(self.baseline)
        return row.candidate.target if row is not None else None

    @property
    def metric(self) -> str:
        """Name of the metric."""
        return str(self.facts["metric"])

    @property
    def relative(self) -> bool:
        """Whether changes of the metric are relative (errors) rather than differences (accuracies)."""
        return bool(self.facts["relative"])

    @property
    def finished(self) -> bool:
        """Whether every row is measured or failed."""
        return bool(self.rows) and all(r.status != "pending" for r in self.rows)

    def row(self, key: str) -> Result:
        """The row of a candidate.

        Raises:
            SettingError: There is no such candidate.
        """
        found = self.rows.get(key)
        if found is None and key:
            begin = [whole for whole in self.rows.keys if whole.startswith(key)]
            found = self.rows.get(begin[0]) if len(begin) == 1 else None
        if found is None:
            raise unknown_name("candidate", key, self.rows.keys)
        return found

    # -- choosing ---------------------------------------------------------------------------------------------------

    def best(
        self,
        *,
        minimize: str | None = None,
        max_drop: float | None = None,
        layout: str | None = None,
        max_output_error: float = MAX_OUTPUT_ERROR,
    ) -> Choice:
        """The best candidate so far for a goal. A missed goal does not raise an error.

        Args:
            minimize: ``"latency"``, ``"size"``, ``"compressed_size"``, ``"memory"`` or ``"cpu"``; None: latency, or
                size if the sweep did not measure latency.
            max_drop: Largest loss of the metric, absolute for accuracies, relative for errors; the far end of the 95 %
                interval must satisfy it. None: the one of the sweep, or 0.01.
            layout: Consider only candidates that this export layout supports.
            max_output_error: Largest error of an output that is not scored, as a share of its spread; a
                candidate that exceeds it is not chosen.

        Raises:
            SettingError: An unknown cost or layout.
            CandidateError: No candidate has been measured, or the layout supports none.

        Example:
            >>> best = dk.Report.open("finished").best(minimize="latency", max_drop=0.01)
            >>> best.met
            True
        """
        goal = replace(self.goal(minimize, max_drop), max_output_error=max_output_error)
        decision = self._decide(goal, layout)
        if decision.winner is None:
            raise CandidateError(
                f"There is nothing to choose: {decision.reason.rstrip('.')}.",
                remedy="run the sweep, or choose another layout.",
            )
        return Choice(self, decision.winner, goal, decision)

    def choice_for(self, key: str, *, minimize: str | None = None, max_drop: float | None = None) -> Choice:
        """A candidate picked by its key (or the beginning of it); see `best` for the goal."""
        return Choice(self, self.row(key), self.goal(minimize, max_drop))

    def goal(self, minimize: str | None = None, max_drop: float | None = None) -> Goal:
        """A goal; None takes the setting of the sweep, see `best`."""
        limit = self.facts.get("max_drop") if max_drop is None else max_drop
        return Goal(minimize or str(self.facts.get("cost", "latency")), 0.01 if limit is None else float(limit))

    def ranked(self, goal: Goal) -> list[Result]:
        """Measured rows, best first; rows that meet the goal come before the others."""
        left, ranked = competing(self.rows, self.baseline), []
        while (winner := decide(left, goal, relative=self.relative).winner) is not None:
            ranked.append(winner)
            left = [r for r in left if r.key != winner.key]
        return ranked

    def pareto(self, cost: str = "latency") -> list[Result]:
        """Rows that no other row beats (95 % confidence), cheapest first."""
        return front(competing(self.rows, self.baseline), cost)

    @property
    def notes(self) -> list[str]:
        """Sentences about what limits the comparison."""
        return [
            *(doubts(self.contract, self.check) if "contract" in self.facts else ()),
            *elsewhere(self.rows, self.baseline),
            *ruined(self.rows, self.baseline),
            *too_few(self.rows, self.goal()),
            *filter(None, [losing.sentence(self.rows, self.goal(), relative=self.relative)]),
            *damaged(self.rows, self.path),
        ]

    def _decide(self, goal: Goal, layout: str | None = None) -> Decision:
        rows = competing(self.rows, self.baseline)
        if layout is None:
            return decide(rows, goal, relative=self.relative)
        exporter = registry("deploykit.exporters", "layout").get(layout)
        return decide(rows, goal, lambda row: exporter.refuses(row.format), relative=self.relative)

    def _chosen(self) -> str:
        winner = self._decide(self.goal()).winner
        return winner.key if winner else ""

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

    def to_frame(self) -> pd.DataFrame:
        """All rows as a data frame with flat columns, units in their names; the index is the candidate's key.

        Example:
            >>> report = dk.Report.open("finished")
            >>> int(report.to_frame().loc[report.baseline, "size_bytes"])
            706865
        """
        import pandas as pd

        return pd.DataFrame.from_records(records(self.rows, self.baseline), index="key")

    def chart(
        self, *, x: str = "latency", minimize: str | None = None, max_drop: float | None = None, dark: bool = False
    ) -> Any:
        """The trade-off chart (Altair). A star marks the sweet spot: the best candidate within the limit.

        Args:
            x: ``"latency"``, ``"size"``, ``"compressed_size"``, ``"memory"`` or ``"cpu"``.
            minimize: The cost that the best candidate minimizes, see `best`.
            max_drop: The limit, which the chart shows, see `best`.
            dark: Colors for a dark background.
        """
        if x not in tradeoff.AXES:
            raise unknown_name("axis", x, tradeoff.AXES)
        goal = self.goal(minimize, max_drop)
        decision = self._decide(goal)
        sweet = sweet_spot.words(numbers.limit(goal.max_drop, relative=self.relative)) if decision.met else ""
        return shown(tradeoff.chart(
            self.rows, self.baseline, x=x, max_drop=goal.max_drop,
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

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data: ``schema``, ``metric``, ``baseline``, ``best`` and ``rows``.

        Each row has ``key``, ``status``, the columns of `to_frame`, and the whole record under ``result``.
        """
        flat = records(self.rows, self.baseline)
        return {
            "schema": SCHEMA,
            "store": str(self.path),
            "model": self.facts["model"],
            "metric": self.metric,
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

    def to_html(
        self, path: str | Path | None = None, *, minimize: str | None = None, max_drop: float | None = None
    ) -> str:
        """A self-contained page with chart, table, choice and environment.

        Args:
            path: Where to write it; None: do not write it.
            minimize: The cost that the choice minimizes, see `best`.
            max_drop: The limit for the choice and the verdicts, see `best`.
        """
        text = page(self, self.goal(minimize, max_drop))
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
        return "\n".join([shown, *(f"note: {n}" for n in self.notes), said])

    def __repr__(self) -> str:
        counts = {s: sum(r.status == s for r in self.rows) for s in ("measured", "failed", "stopped", "pending")}
        return f"Report({str(self.path)!r}, {', '.join(f'{n} {s}' for s, n in counts.items() if n)})"

    def _repr_mimebundle_(self, **_options: Any) -> dict[str, Any]:
        return {"text/plain": str(self), "text/html": notebook(self)}

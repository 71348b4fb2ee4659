"""The rows of a sweep and its facts, and what follows from both: everything but pictures and pages."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from deploykit.choosing.goals import Decision, Goal, checked_price, decide
from deploykit.choosing.pareto import competing, devices_of, front
from deploykit.core.candidate import Recipe, Target
from deploykit.core.check import BaselineCheck
from deploykit.core.contract import Contract
from deploykit.core.errors import SettingError, StoreError, unknown_name
from deploykit.core.model import Model
from deploykit.core.problem import Facts
from deploykit.core.registry import registry
from deploykit.core.result import Result
from deploykit.data.dataset import Dataset
from deploykit.reporting import losing
from deploykit.reporting.rows import apart, by_group, damaged, doubts, elsewhere, left_to_others, ruined, too_few
from deploykit.storage.rows import Rows
from deploykit.transforms._contract import TRANSFORMS


@dataclass(frozen=True)
class Swept:
    """What a sweep has found. `Report` adds how it is opened, chosen from and shown.

    Evidence and charts are made of this, so that they do not depend on the reports that show them.

    Attributes:
        path: The store's folder.
        rows: One row per candidate, including failed ones, in the order of the plan.
        facts: Model, data, metric and baseline of the sweep.
    """

    path: Path
    rows: Rows
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Take any sequence of rows."""
        if not isinstance(self.rows, Rows):
            object.__setattr__(self, "rows", Rows.of(self.rows))

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
    def metric_reason(self) -> str:
        """Why ``metric="auto"`` took it, in a sentence; "" when it was named, and in stores of an older version."""
        return str(self.facts.get("metric_reason", ""))

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

    def row_of(self, recipe: Recipe, target: Target | None = None) -> Result:
        """The row of a recipe; settings may be at their defaults, or have no effect there.

        Args:
            recipe: The recipe.
            target: Where it was measured; None: the first target that has it.

        Raises:
            SettingError: There is no such row.

        Example:
            >>> recipe = dk.Recipe((dk.Step("quantize_dynamic"),))
            >>> space = dk.Space([recipe], [dk.Target("onnxruntime")])
            >>> report = dk.sweep(model, data, space, store="runs/rows", launches=0)
            [...
            >>> report.row_of(recipe).label
            'int8 dynamic'
        """
        for row in self.rows:
            if target in (None, row.candidate.target):
                wanted, own = (written_out(r, row.format, self.model) for r in (recipe, row.candidate.recipe))
                if own == wanted:
                    return row
        where = f" on {target}" if target is not None else ""
        raise SettingError(
            f"No row of the report has the recipe {recipe}{where}.",
            remedy="row(key) takes the keys that the report shows; a recipe that was left out of the plan has no row.",
        )

    def goal(
        self, minimize: str | None = None, max_drop: float | None = None, price_per_hour: float | None = None
    ) -> Goal:
        """A goal; None takes the setting of the sweep, see `best`.

        Raises:
            SettingError: The price is not a positive number.
        """
        limit = self.facts.get("max_drop") if max_drop is None else max_drop
        return Goal(
            minimize or str(self.facts.get("cost", "latency")),
            0.01 if limit is None else float(limit),
            price_per_hour=checked_price(price_per_hour),
        )

    @property
    def devices(self) -> tuple[str, ...]:
        """Devices that candidates ran on, the original model's first: each has a front of its own."""
        return devices_of(self.rows, self.baseline)

    def ranked(self, goal: Goal, device: str | None = None) -> list[Result]:
        """Measured rows of one device (see `pareto`), best first; rows that meet the goal come before the others."""
        left, ranked = self._rivals(device), []
        while (winner := decide(left, goal, relative=self.relative).winner) is not None:
            ranked.append(winner)
            left = [r for r in left if r.key != winner.key]
        return ranked

    def pareto(self, cost: str = "latency", device: str | None = None) -> list[Result]:
        """Rows that no other row beats (95 % confidence), cheapest first; each device has a front of its own.

        Args:
            cost: What is minimized, see `best`.
            device: One of `devices`; None: the fronts of all devices.

        Raises:
            SettingError: No candidate ran on the device.
        """
        return front(competing(self.rows, self.baseline) if device is None else self._rivals(device), cost)

    @property
    def notes(self) -> list[str]:
        """Sentences about what limits the comparison."""
        return [
            *(doubts(self.contract, self.check) if "contract" in self.facts else ()),
            *elsewhere(self.rows, self.baseline),
            *apart(self.rows, self.baseline),
            *left_to_others(self.rows),
            *ruined(self.rows, self.baseline),
            *too_few(self.rows, self.goal()),
            *by_group(self.rows),
            *filter(None, [losing.sentence(self.rows, self.goal(), relative=self.relative)]),
            *damaged(self.rows, self.path),
        ]

    def _rivals(self, device: str | None) -> list[Result]:
        """Rows of one device, which are compared with each other; None: of the original model's."""
        known = self.devices
        if device is not None and device not in known:
            raise unknown_name("device of this report", device, known)
        wanted = device or next(iter(known), "")
        return [r for r in competing(self.rows, self.baseline) if r.candidate.target.device == wanted]

    def _decide(self, goal: Goal, layout: str | None = None, device: str | None = None) -> Decision:
        rows = self._rivals(device)
        if layout is None:
            return decide(rows, goal, relative=self.relative)
        exporter = registry("deploykit.exporters", "layout").get(layout)
        return decide(rows, goal, lambda row: exporter.refuses(row.format), relative=self.relative)

    def _chosen(self) -> str:
        winner = self._decide(self.goal()).winner
        return winner.key if winner else ""


def written_out(recipe: Recipe, format_name: str, model: Model) -> list[tuple[str, dict[str, Any]]]:
    """The steps of a recipe with all settings that have an effect where the file has that format."""
    found = []
    for step in recipe.steps:
        values = dict[str, Any](step.parameters)
        if step.technique in TRANSFORMS:
            technique = TRANSFORMS.get(step.technique)
            values = technique.fitted(technique.complete(values), Facts.of(model))
            ways = [v for v in technique.variants if v.produces == format_name] or technique.variants
            used = {name for way in ways for name in way.uses} - technique.idle(values).keys()
            values = {name: value for name, value in values.items() if name in used}
        found.append((step.technique, values))
    return found

"""Layers by levels of techniques: what each loses when nothing else is changed, and what was not measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.errors import SettingError
from deploykit.core.layers.names import same_layers
from deploykit.core.parameter import Value
from deploykit.core.result import Interval
from deploykit.core.serial import Plain
from deploykit.core.space import Space
from deploykit.reporting.evidence.naming import users
from deploykit.reporting.evidence.sensitivity import LIMIT, Sensitivity
from deploykit.reporting.evidence.sensitivity_rows import SensitivityRow
from deploykit.reporting.swept import Swept
from deploykit.storage.store import Store
from deploykit.transforms._contract import TRANSFORMS

if TYPE_CHECKING:
    import pandas as pd

#: More columns than this cannot be read side by side.
_MOST_LEVELS = 8


@dataclass(frozen=True)
class Level(Plain):
    """A technique with its parameters, done to one layer at a time.

    Attributes:
        technique: Its name.
        parameters: Its parameters, exclusions aside; those left out have their defaults.
        target: Where it is evaluated.
        family: Group of the technique, for example ``"quantize"``.
        label: The level in words, for example ``"magnitude pruning 70 %"``.
        group: The technique in words, with which the label begins.
        excluding: Name of the parameter that leaves layers out.
        measured: Whether there was a pass.
    """

    technique: str
    parameters: dict[str, Value]
    target: Target
    family: str
    label: str
    group: str
    excluding: str
    measured: bool


@dataclass(frozen=True)
class SensitivityCell(Plain):
    """What a layer loses at a level.

    Attributes:
        names: Names of the layer in the model the technique sees, to leave it out by; empty when they are not known:
            converters change names, and only a pass at the level finds them.
        drop: Loss of the metric, a share; positive is worse. None when it was not measured.
        fidelity: Loss of fidelity to the original's outputs, a share.
        problem: Why it could not be measured; "" when it was, or was not tried.
    """

    names: tuple[str, ...] = ()
    drop: Interval | None = None
    fidelity: Interval | None = None
    problem: str = ""


@dataclass(frozen=True)
class SensitivityTable(Plain):
    """The table. See ``Report.sensitivity_table``.

    Attributes:
        levels: The columns.
        layers: Names of the rows, in the order of the graph; text from outside.
        cells: For each layer one cell for each level.
        metric: Name of the metric.
        relative: Whether losses are relative (errors) rather than differences (accuracies).
    """

    levels: tuple[Level, ...]
    layers: tuple[str, ...]
    cells: tuple[tuple[SensitivityCell, ...], ...]
    metric: str
    relative: bool

    def __iter__(self) -> Iterator[tuple[str, tuple[SensitivityCell, ...]]]:
        return iter(zip(self.layers, self.cells, strict=True))

    def leaving_out(self, layer: int, level: int) -> Recipe:
        """The recipe of a level that leaves one more layer as it is.

        Args:
            layer: Place of the row.
            level: Place of the column.

        Raises:
            SettingError: The technique's name for the layer is not known.
        """
        column, cell = self.levels[level], self.cells[layer][level]
        base = [w.strip() for w in str(column.parameters.get(column.excluding, "")).split(",") if w.strip()]
        if not cell.names:
            raise SettingError(
                f"The name that {column.label} uses for {self.layers[layer]} is not known.",
                remedy="measure this level first.",
            )
        text = ", ".join(sorted({*base, *cell.names}))
        return Recipe((Step(column.technique, {**column.parameters, column.excluding: text}),))

    def to_measure(self, level: int) -> Space:
        """What a pass at a level would evaluate, so that ``dk.plan`` can estimate how long it takes.

        Args:
            level: Place of the column.
        """
        column = self.levels[level]
        technique = TRANSFORMS.get(column.technique)
        given = technique.single(column.parameters)
        names = [
            cells[level].names[0] if cells[level].names else layer
            for layer, cells in zip(self.layers, self.cells, strict=True)
        ][:LIMIT]
        texts = ["", *(f"!{name}" for name in names), *names]
        steps = ({**given, column.excluding: t} if t else given for t in texts)
        return Space(tuple(Recipe((Step(column.technique, s),)) for s in steps), (column.target,))

    def records(self) -> list[dict[str, Any]]:
        """One flat record for each cell; losses are shares, unknown values None."""
        return [
            {
                "layer": layer, "technique": level.technique, "level": level.label, "measured": level.measured,
                "drop": cell.drop.value if cell.drop else None,
                "drop_low": cell.drop.low if cell.drop else None,
                "drop_high": cell.drop.high if cell.drop else None,
                "fidelity_loss": cell.fidelity.value if cell.fidelity else None,
                "problem": cell.problem,
            }
            for layer, cells in self
            for level, cell in zip(self.levels, cells, strict=True)
        ]  # fmt: skip

    def to_frame(self) -> pd.DataFrame:
        """Layers by levels as a data frame of losses in percentage points; NaN where nothing was measured."""
        import pandas as pd

        values = [[None if c.drop is None else 100 * c.drop.value for c in cells] for cells in self.cells]
        labels = [level.label for level in self.levels]
        return pd.DataFrame(values, index=list(self.layers), columns=labels, dtype="float64")

    def __str__(self) -> str:
        done = sum(level.measured for level in self.levels)
        return f"{len(self.layers)} layers at {len(self.levels)} levels, {done} of them measured."


def build(report: Swept) -> SensitivityTable:
    """All passes over the layers that a store holds, and the levels of its candidates that were not measured."""
    found = [Sensitivity.from_json(record) for record in Store(report.path).records("sensitivity").values()]
    wanted = (report.model.digest, report.facts["data"])
    latest: dict[str, Sensitivity] = {}
    for one in sorted((p for p in found if (p.model, p.data) == wanted), key=lambda p: p.when):
        if any(r.kind != "type" for r in one.rows):
            latest[_level_key(one.technique, one.parameters, one.excluding, one.target)] = one
    levels = [_level(p.technique, p.parameters, p.target, measured=True) for p in latest.values()]
    passes: list[Sensitivity | None] = list(latest.values())
    for level in _untried(report, set(latest)):
        if len(levels) < _MOST_LEVELS:
            levels.append(level)
            passes.append(None)
    order = sorted(range(len(levels)), key=lambda i: (levels[i].family, levels[i].technique, _numbers(levels[i])))
    levels, passes = [levels[i] for i in order], [passes[i] for i in order]
    rows = _rows(report, passes)
    own = {x.name for x in report.model.layers}
    cells = tuple(
        tuple(
            _cell(p, names.get(place)) if p else SensitivityCell(_own_names(report, level, names.values(), own))
            for place, (p, level) in enumerate(zip(passes, levels, strict=True))
        )
        for _, names in rows
    )
    return SensitivityTable(tuple(levels), tuple(n for n, _ in rows), cells, report.metric, report.relative)


def _level(technique: str, parameters: dict[str, Value], target: Target, *, measured: bool) -> Level:
    adapter = TRANSFORMS.get(technique)
    return Level(
        technique, parameters, target, adapter.family.name, adapter.describe(parameters), adapter.label,
        adapter.excluding, measured,
    )  # fmt: skip


def _level_key(technique: str, parameters: dict[str, Value], excluding: str, target: Target) -> str:
    """What makes two levels one: settings of training aside, which a pass does without."""
    adapter = TRANSFORMS.get(technique)
    shown = {k: v for k, v in adapter.complete(parameters).items() if k not in adapter.one_shot and k != excluding}
    return repr((technique, sorted(shown.items()), target.device))


def _untried(report: Swept, known: set[str]) -> Iterator[Level]:
    """Levels of the report's candidates of one step that no pass has measured, on the first runtime that can."""
    for row in report.rows:
        steps = row.candidate.recipe.steps
        if len(steps) != 1 or row.status != "measured":
            continue
        adapter = TRANSFORMS.get(steps[0].technique)
        if not adapter.excluding or steps[0].parameters.get(adapter.excluding):
            continue
        # A technique of one format, whose result is converted for the runtime, writes none in the runtime's.
        used = [v for v in adapter.variants if v.produces == row.format] or list(adapter.variants)
        if not any(adapter.excluding in v.uses for v in used):
            continue
        target = Target(row.candidate.target.runtime, row.candidate.target.device)
        key = _level_key(adapter.name, steps[0].parameters, adapter.excluding, target)
        if key not in known:
            known.add(key)
            yield _level(adapter.name, steps[0].parameters, target, measured=False)


def _numbers(level: Level) -> tuple[float, ...]:
    return tuple(float(v) for v in level.parameters.values() if isinstance(v, int | float))


def _rows(report: Swept, passes: Sequence[Sensitivity | None]) -> list[tuple[str, dict[int, str]]]:
    """Layers with their names by the place of the pass; without any pass those of the original model, under −1."""
    rows: list[dict[int, str]] = []
    measured = [(place, one) for place, one in enumerate(passes) if one is not None]
    for place, one in sorted(measured, key=lambda p: -len(p[1].rows)):  # the one with the most layers knows their order
        names = [row.name for row in one.rows if row.kind != "type"]
        for name, layer in zip(names, same_layers([list(r.values()) for r in rows], names), strict=True):
            if layer is None:
                rows.append({place: name})
            else:
                rows[layer][place] = name
    if not rows:
        rows = [{-1: x.name} for x in report.model.layers if x.parameters][:LIMIT]
    shown = users(report.model.layers, [min(names.values(), key=len) for names in rows])
    return list(zip(shown, rows, strict=True))


def _own_names(report: Swept, level: Level, names: Iterable[str], own: set[str]) -> tuple[str, ...]:
    """Names of a layer that a technique is certain to know: those of the original model, where it reads those."""
    variants = [v for v in TRANSFORMS.get(level.technique).variants if level.excluding in v.uses]
    if not any(report.model.format in v.accepts for v in variants):
        return ()
    return tuple(n for n in dict.fromkeys(names) if n in own)


def _cell(one: Sensitivity, name: str | None) -> SensitivityCell:
    row: SensitivityRow | None = next((r for r in one.rows if r.kind != "type" and r.name == name), None)
    if row is None:
        return SensitivityCell()
    if row.only is None:
        return SensitivityCell(row.names, problem=row.problem)
    return SensitivityCell(row.names, row.only.drop, row.only.fidelity, row.problem)

"""What passes over a model's layers ask: which technique, where, and which layers one by one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.digest import json_digest
from deploykit.core.errors import SettingError
from deploykit.core.parameter import Value
from deploykit.core.tools import all_versions
from deploykit.planning.planned import Planned
from deploykit.planning.routes import Impossible, Routes
from deploykit.reporting.evidence.sensitivity import LIMIT
from deploykit.reporting.evidence.sensitivity_rows import SensitivityRow
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sweeping.state import State
from deploykit.transforms._contract import TRANSFORMS

#: What rows can be about.
KINDS = ("layer", "type")


@dataclass(frozen=True)
class Question:
    """What a pass finds out.

    Attributes:
        technique: Name of the technique.
        parameters: Its parameters.
        target: Where it is evaluated.
        by: `KINDS` of rows.
        limit: Layers that are measured one by one: those with the most weights; the others are one row. When they are
            to blame, so many more are measured.
    """

    technique: str
    parameters: dict[str, Value]
    target: Target
    by: tuple[str, ...] = KINDS
    limit: int = LIMIT

    def record(self, context: str) -> str:
        """Key of the finished pass, whose rows are under a context."""
        return json_digest([context, self.by, self.limit])


@dataclass(frozen=True)
class LayerGroup:
    """Layers that are changed, or left, together.

    Attributes:
        row: What the report says of them, losses aside.
        whole: Whether they are all there are.
    """

    row: SensitivityRow
    whole: bool

    @property
    def words(self) -> tuple[str, ...]:
        """What names them in an exclusion."""
        return (self.row.name,) if self.row.kind == "type" and len(self.row.names) > 1 else self.row.names


def grouped(units: Sequence[Sequence[Any]], by: Collection[str], limit: int) -> list[LayerGroup]:
    """What is changed together: types of operators, then layers in the order of the graph, then the others.

    Args:
        units: ``[name, type, number of weights]`` of each layer that the technique changes, in order.
        by: `KINDS` of rows.
        limit: Layers that get a row of their own: those with the most weights.
    """
    places = range(len(units))
    chosen = sorted(sorted(places, key=lambda i: -units[i][2])[:limit])
    rest = [i for i in places if i not in set(chosen)]
    if len(rest) == 1:
        chosen, rest = list(places), []
    types: dict[str, list[int]] = {}
    for i in places:
        types.setdefault(units[i][1], []).append(i)
    wanted: list[tuple[Any, str, list[int]]] = []
    if "type" in by:
        wanted += [("type", kind, found) for kind, found in types.items()]
    if "layer" in by:
        wanted += [("layer", units[i][0], [i]) for i in chosen]
        wanted += [("others", f"{len(rest)} others", rest)] if rest else []
    return [
        LayerGroup(
            SensitivityRow(
                name, kind, units[found[0]][1] if len({units[i][1] for i in found}) == 1 else "", found[0],
                tuple(units[i][0] for i in found), sum(units[i][2] for i in found),
            ),
            len(found) == len(units),
        )
        for kind, name, found in wanted
    ]  # fmt: skip


def target_for(routes: Routes, technique: str, parameters: dict[str, Value], targets: Iterable[Target]) -> Target:
    """The first target on which layers can be left out.

    Raises:
        SettingError: There is none, or the technique cannot leave out layers.
    """
    adapter = TRANSFORMS.get(technique)
    if not adapter.excluding:
        able = [t.name for t in TRANSFORMS.all() if t.excluding]
        raise SettingError(
            f"{technique} applies to whole models: it has no setting for leaving layers out.",
            remedy=f"techniques that have one: {', '.join(able)}.",
        )
    recipes = [
        Recipe((Step(technique, {**parameters, adapter.excluding: text}),))
        for text in ("!any", str(parameters.get(adapter.excluding, "")))
    ]
    reasons = []
    for target in targets:
        some, whole = (routes.find(recipe, target) for recipe in recipes)
        if isinstance(some, Impossible):
            reasons.append(some.reason)
        elif isinstance(whole, Impossible):
            reasons.append(whole.reason)
        elif some.variants == whole.variants:
            return target
    raise SettingError(
        f"{technique} cannot leave out layers of this model: {'; '.join(dict.fromkeys(reasons)) or 'no runtime'}.",
        remedy="choose another runtime or technique.",
    )


def questions(routes: Routes, candidates: Sequence[Planned], state: State) -> list[Question]:
    """What a sweep asks: for each technique that can leave out layers, about the fastest of its candidates."""

    def order(planned: Planned) -> tuple[bool, float]:
        measurement = state.row(planned.key).measurement
        latency = measurement.latency if measurement else None
        smaller = -measurement.size_bytes if measurement else 0
        return (latency is not None, latency.speedup.value if latency else smaller)

    found: dict[str, Question] = {}
    for planned in sorted(candidates, key=order, reverse=True):
        target, steps = planned.candidate.target, planned.candidate.recipe.steps
        if len(steps) != 1 or steps[0].technique in found or state.row(planned.key).measurement is None:
            continue
        technique = TRANSFORMS.get(steps[0].technique)
        if not technique.excluding or steps[0].parameters.get(technique.excluding):
            continue
        place = Target(target.runtime, target.device)
        try:
            target_for(routes, technique.name, steps[0].parameters, [place])
        except SettingError:
            continue
        found[technique.name] = Question(technique.name, steps[0].parameters, place)
    return list(found.values())


def pass_name(context: str, question: Question, seed: int) -> str:
    """Context of a pass's rows; rows of passes that differ only in what they list are the same.

    Args:
        context: What sweeps of the model, data and metric share.
        question: What the pass finds out.
        seed: Seed of the transforms.
    """
    technique = TRANSFORMS.get(question.technique)
    runtime = RUNTIMES.get(question.target.runtime)
    tools = [all_versions(v) for v in technique.variants if v.produces in runtime.accepts]
    return json_digest(
        [
            context, question.technique, technique.complete(question.parameters), question.target.to_json(),
            runtime.versions(), tools, seed,
        ]
    )  # fmt: skip

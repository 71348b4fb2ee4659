"""What to say when every candidate in int8 loses too much: what it is, and what usually helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deploykit.choosing.goals import Goal, limit
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.result import Result
from deploykit.runtimes._contract import RUNTIMES
from deploykit.transforms._contract import TRANSFORMS, Transform


@dataclass(frozen=True)
class Remedy:
    """A recipe that was not tried, and where."""

    recipe: Recipe
    target: Target


def sentence(rows: Sequence[Result], goal: Goal, *, relative: bool) -> str:
    """What all int8 candidates lose and what to try, "" when one keeps enough or there is none.

    Args:
        rows: All rows.
        goal: How much may be lost.
        relative: Whether changes of the metric are relative (errors).
    """
    lost = _lost(rows, goal)
    if not lost:
        return ""
    least = min(lost, key=_drop)
    amount = f"{100 * _drop(least):.2f} {'%' if relative else 'pp'}"
    every = f"All {len(lost)} int8 candidates lose" if len(lost) > 1 else "The only int8 candidate loses"
    said = f"{every} more than {limit(goal.max_drop, relative=relative)}; the least is {amount} ({least.label})."
    if (fix := remedy(rows, goal)) is not None:
        where = RUNTIMES.get(fix.target.runtime).label
        why = _help(fix.recipe)
        return f"{said} What helps: {why} To try: {fix.recipe} on {where}."
    layers = [r for r in lost if _excluding(r)]
    if layers:
        row = min(layers, key=_drop)
        technique = row.candidate.recipe.steps[-1].technique
        return (
            f"{said} What helps: keep the most affected layers in float. To find them: dk.sensitivity(model, data, "
            f"{technique!r}), or deploykit sensitivity; dk.sweep(sensitivity=True) tries what it finds."
        )
    return f"{said} What helps: more, or more typical, calibration examples, or training with int8 in mind."


def remedy(rows: Sequence[Result], goal: Goal) -> Remedy | None:
    """The careful form of a technique that loses too much; None when there is none, or it was tried."""
    lost = _lost(rows, goal)
    if any(_careful(r) for r in lost):
        return None
    for row in sorted(lost, key=_drop):
        steps = row.candidate.recipe.steps
        technique = TRANSFORMS.get(steps[-1].technique)
        if technique.careful and set(technique.careful) <= _used(technique, row.format):
            changed = Step(technique.name, {**steps[-1].parameters, **technique.careful})
            return Remedy(Recipe((*steps[:-1], changed)), row.candidate.target)
    return None


def _lost(rows: Sequence[Result], goal: Goal) -> list[Result]:
    """All int8 candidates, when each of them loses too much; none when one does not or is not finished."""
    whole = [r for r in rows if r.candidate.recipe.steps and r.status != "failed" and _integer(r)]
    if any(r.measurement is None or r.status == "pending" for r in whole):
        return []
    return whole if all(r.status == "stopped" or _drop(r) > goal.max_drop for r in whole) else []


def _integer(row: Result) -> bool:
    """Whether the candidate's file holds integer operators, by what its build step has noted."""
    return any(isinstance(note, dict) and bool(note.get("quantized")) for note in row.notes.values())


def _drop(row: Result) -> float:
    return row.measurement.score.drop.value if row.measurement else float("inf")


def _careful(row: Result) -> bool:
    for step in row.candidate.recipe.steps:
        careful = TRANSFORMS.get(step.technique).careful
        if careful and all(step.parameters.get(k) == v for k, v in careful.items()):
            return True
    return False


def _excluding(row: Result) -> bool:
    technique = TRANSFORMS.get(row.candidate.recipe.steps[-1].technique)
    return bool(technique.excluding) and technique.excluding in _used(technique, row.format)


def _used(technique: Transform, format_name: str) -> set[str]:
    return {p for v in technique.variants if v.produces == format_name for p in v.uses}


def _help(recipe: Recipe) -> str:
    """What the settings of the careful form are said to do."""
    technique = TRANSFORMS.get(recipe.steps[-1].technique)
    return " ".join(p.help for p in technique.parameters if p.name in technique.careful)

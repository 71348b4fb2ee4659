"""What to say when every candidate in int8 loses too much: which step is the cause, and what usually helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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


@dataclass(frozen=True)
class _Lost:
    """A candidate that loses too much.

    Attributes:
        row: The candidate.
        place: Place of the step that is the cause: with it, the loss first exceeds the limit. None when what comes
            before the last step was not measured alone.
    """

    row: Result
    place: int | None

    @property
    def cause(self) -> Step | None:
        """The step that is the cause."""
        return None if self.place is None else self.row.candidate.recipe.steps[self.place]

    @property
    def quantized(self) -> bool:
        """Whether that step is the one that quantizes."""
        return self.cause is not None and "quantized" in _effects(self.cause)


def sentence(rows: Sequence[Result], goal: Goal, *, relative: bool) -> str:
    """What all int8 candidates lose, why, and what to try; "" when one keeps enough or there is none.

    Args:
        rows: All rows.
        goal: How much may be lost.
        relative: Whether changes of the metric are relative (errors).
    """
    lost = _lost(rows, goal)
    if not lost:
        return ""

    def amount(row: Result) -> str:
        return f"{100 * _drop(row):.2f} {'%' if relative else 'pp'}"

    least = min((one.row for one in lost), key=_drop)
    every = f"All {len(lost)} int8 candidates lose" if len(lost) > 1 else "The only int8 candidate loses"
    said = f"{every} more than {limit(goal.max_drop, relative=relative)}; the least is {amount(least)} ({least.label})."
    if before := _before(lost, rows):
        count = sum(one.cause is not None and not one.quantized for one in lost)
        of = "" if count == len(lost) == 1 else f" of {'all' if count == len(lost) else count} of them"
        said += f" The cause{of} is not int8: {before.label} alone loses {amount(before)}."
    if (fix := remedy(rows, goal)) is not None:
        where = RUNTIMES.get(fix.target.runtime).label
        return f"{said} What helps: {_help(fix.recipe)} To try: {fix.recipe} on {where}."
    if not any(one.quantized for one in lost):
        return f"{said} {_untried(lost)}"
    layers = [one for one in lost if one.quantized and _excluding(one)]
    if layers:
        technique = min(layers, key=lambda one: _drop(one.row)).row.candidate.recipe.steps[-1].technique
        return (
            f"{said} What helps: keep the most affected layers in float. To find them: dk.sensitivity(model, data, "
            f"{technique!r}), or deploykit sensitivity; dk.sweep(sensitivity=True) tries what it finds."
        )
    if all(_from_file(one.cause) for one in lost if one.quantized and one.cause is not None):
        return f"{said} What helps: quantize the original model here, where layers that suffer can be left in float."
    return f"{said} What helps: more, or more typical, calibration examples, or training with int8 in mind."


def remedy(rows: Sequence[Result], goal: Goal) -> Remedy | None:
    """The careful form of the step that is the cause, int8 first; None when there is none, or it was tried."""
    lost = sorted(_lost(rows, goal), key=lambda one: (not one.quantized, _drop(one.row)))
    careful = {s.technique for one in lost for s in one.row.candidate.recipe.steps if _is_careful(s)}
    for one in lost:
        if one.cause is None or one.cause.technique in careful or one.cause.technique not in TRANSFORMS:
            continue
        technique, steps = TRANSFORMS.get(one.cause.technique), one.row.candidate.recipe.steps
        last = one.place == len(steps) - 1
        if technique.careful and set(technique.careful) <= _used(technique, one.row.format if last else ""):
            values = technique.complete({**one.cause.parameters, **technique.careful})
            idle = technique.idle(values)
            changed = {k: v for k, v in {**one.cause.parameters, **technique.careful}.items() if k not in idle}
            recipe = tuple(replace(s, parameters=changed) if s is one.cause else s for s in steps)
            return Remedy(Recipe(recipe), one.row.candidate.target)
    return None


def _lost(rows: Sequence[Result], goal: Goal) -> list[_Lost]:
    """All int8 candidates, when each of them loses too much; none when one does not or is not finished."""
    whole = [r for r in rows if r.candidate.recipe.steps and r.status != "failed" and _integer(r)]
    if any(r.measurement is None or r.status == "pending" for r in whole):
        return []
    if not all(_loses(r, goal) for r in whole):
        return []
    return [_Lost(r, _place(r, rows, goal)) for r in whole]


def _place(row: Result, rows: Sequence[Result], goal: Goal) -> int | None:
    """Place of the step that is the cause, by what was measured of the steps before it."""
    steps = row.candidate.recipe.steps
    for place in range(len(steps) - 1, -1, -1):
        if place == 0:
            return 0
        before = _measured(Recipe(steps[:place]), row.candidate.target, rows)
        if before is None:
            return None
        if not _loses(before, goal):
            return place
    return None


def _measured(recipe: Recipe, target: Target, rows: Sequence[Result]) -> Result | None:
    """The row of a recipe, on the same target if it is there; accuracy hardly depends on that."""
    found = [r for r in rows if r.candidate.recipe.key == recipe.key and r.measurement and r.status != "failed"]
    return min(found, key=lambda r: (r.candidate.target != target, _drop(r)), default=None)


def _before(lost: Sequence[_Lost], rows: Sequence[Result]) -> Result | None:
    """What was measured without int8 of the candidates whose cause is another step; the least loss of them."""
    found = []
    for one in lost:
        if one.place is not None and not one.quantized:
            recipe = Recipe(one.row.candidate.recipe.steps[: one.place + 1])
            found.append(_measured(recipe, one.row.candidate.target, rows))
    return min((row for row in found if row), key=_drop, default=None)


def _untried(lost: Sequence[_Lost]) -> str:
    """What is not known of candidates whose cause is not int8, or not known."""
    unknown = [one.row for one in lost if one.place is None]
    if not unknown:
        return "What helps: milder settings of that step, or distillation after it."
    row = min(unknown, key=_drop)
    recipe = Recipe(row.candidate.recipe.steps[:-1])
    return (
        f"Whether int8 or what comes before it is the cause is not known. To try: {recipe} on "
        f"{RUNTIMES.get(row.candidate.target.runtime).label}."
    )


def _integer(row: Result) -> bool:
    """Whether the candidate's file holds integers: by what its steps noted, or by what was read of a given file."""
    if any(isinstance(note, dict) and bool(note.get("quantized")) for note in row.notes.values()):
        return True
    first = row.candidate.recipe.steps[0]
    return _from_file(first) and "quantized" in _effects(first)


def _from_file(step: Step) -> bool:
    return step.technique in TRANSFORMS and TRANSFORMS.get(step.technique).from_file


def _effects(step: Step) -> frozenset[str]:
    found = TRANSFORMS.get(step.technique).effects(step.parameters) if step.technique in TRANSFORMS else ()
    return frozenset(found)


def _loses(row: Result, goal: Goal) -> bool:
    return row.status == "stopped" or _drop(row) > goal.max_drop


def _drop(row: Result) -> float:
    return row.measurement.score.drop.value if row.measurement else float("inf")


def _is_careful(step: Step) -> bool:
    """Whether a step keeps as much as the careful form of its technique, or more."""
    technique = TRANSFORMS.get(step.technique) if step.technique in TRANSFORMS else None
    if technique is None or not technique.careful:
        return False
    values, usual = technique.complete(step.parameters), technique.complete({})
    for name, careful in technique.careful.items():
        value, default = values[name], usual[name]
        if isinstance(value, float) and isinstance(careful, float) and isinstance(default, float):
            if (value - careful) * (careful - default) < 0:
                return False
        elif value != careful:
            return False
    return True


def _excluding(one: _Lost) -> bool:
    technique = TRANSFORMS.get(one.row.candidate.recipe.steps[-1].technique)
    return bool(technique.excluding) and technique.excluding in _used(technique, one.row.format)


def _used(technique: Transform, format_name: str) -> set[str]:
    """Parameters that have an effect in a format; "" for any."""
    return {p for v in technique.variants if v.produces == format_name or not format_name for p in v.uses}


def _help(recipe: Recipe) -> str:
    """What the settings of the careful form are said to do."""
    careful = next(step for step in reversed(recipe.steps) if _is_careful(step))
    technique = TRANSFORMS.get(careful.technique)
    return " ".join(p.help for p in technique.parameters if p.name in technique.careful)

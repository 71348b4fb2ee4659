"""What a sweep would do, found from declared facts without importing a framework."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from deploykit.core.candidate import Candidate, Recipe, Step, Target
from deploykit.core.check import Examined
from deploykit.core.errors import SettingError
from deploykit.core.model import Model
from deploykit.core.problem import Facts
from deploykit.core.resolution import TYPICAL_FLIPS, half_width
from deploykit.core.space import Space
from deploykit.planning.plan import Plan
from deploykit.planning.planned import LeftOut, Planned, Remark
from deploykit.planning.routes import Impossible, Route, Routes, describe
from deploykit.planning.steps import BuildStep
from deploykit.runtimes._contract import RUNTIMES
from deploykit.transforms._contract import TRANSFORMS
from deploykit.transforms._quantizing.settings import attends

#: What presets try of models with attention besides their own recipes.
_FUSE = Step("simplify_graph", {"fuse": "attention"})
_PRODUCTS = Step("quantize_dynamic", {"operators": "matmul", "per_channel": True})


def make(routes: Routes, space: Space) -> Plan:
    """What a sweep would run; `deploykit.planning.preview.plan` says what it takes.

    Args:
        routes: Of a model and its data, which have been checked; one for all plans of a sweep.
        space: What to try.
    """
    model, data = routes.model, routes.data
    assert data is not None
    found: dict[tuple[Any, ...], Planned] = {}
    steps: dict[str, BuildStep] = {}
    left_out: dict[str, LeftOut] = {}
    duplicates = 0
    remarks: list[Remark] = []
    if space.name:
        space = _with_transformers(model, space)
        space = replace(space, recipes=tuple(Recipe(tuple(_fitted(routes, s) for s in r.steps)) for r in space.recipes))
    for candidate in space.candidates(space.targets or _all_targets(model)):
        target = candidate.target
        _check_target(target, model)
        route = routes.find(candidate.recipe, target)
        if isinstance(route, Impossible):
            label = f"{describe(candidate.recipe)} on {RUNTIMES.get(target.runtime).label}"
            left_out.setdefault(label, LeftOut(label, route.reason, candidate.recipe, target))
            continue
        problems = routes.problems(route, target)
        if impossible := [p.reason for p in problems if p.severity == "impossible"]:
            label = f"{describe(candidate.recipe)} on {_where(route, target)}"
            left_out.setdefault(label, LeftOut(label, "; ".join(impossible), candidate.recipe, target))
            continue
        identity = (route.key, target)
        if identity in found:
            duplicates += 1
            continue
        planned = found[identity] = _planned(route, target)
        label = f"{planned.label} on {_where(route, target)}"
        remarks += [Remark(planned.key, label, p.severity, p.reason) for p in problems]
        steps.update({s.key: s for s in route.steps})
    candidates = tuple(found.values())
    count, alone = len(data.splits["evaluation"]), data.splits["evaluation"].independent
    return Plan(
        candidates,
        _baseline(model, candidates, left_out),
        steps,
        tuple(left_out.values()),
        duplicates,
        space.refine,
        half_width(TYPICAL_FLIPS, alone) if data.checked.scored.is_classes else 0.0,
        count,
        tuple(remarks),
        examined=Examined(data.checked),
        reading=data.reading,
        examples={name: len(split) for name, split in data.splits.items()},
        evaluation_groups=0 if alone == count else alone,
    )


def _with_transformers(model: Model, space: Space) -> Space:
    """A preset with what suits attention, where the model has it and its file can be fused as it is."""
    able = {name for variant in TRANSFORMS.get(_FUSE.technique).variants for name in variant.accepts}
    if model.format not in able or not attends(Facts.of(model)):
        return space
    return replace(space, recipes=(*space.recipes, Recipe((_PRODUCTS,)), Recipe((_FUSE, _PRODUCTS))))


def _fitted(routes: Routes, step: Step) -> Step:
    """A step of a preset as the data allow: without the first setting that needs what they lack, as labels."""
    if not routes.lacks(step):
        return step
    others = (Step(step.technique, {k: v for k, v in step.parameters.items() if k != name}) for name in step.parameters)
    return next((other for other in others if not routes.lacks(other)), step)


def _planned(route: Route, target: Target) -> Planned:
    keys = tuple(step.key for step in route.steps)
    return Planned(Candidate(route.recipe, target), route.label, route.family, keys, route.format, route.compiled)


def _where(route: Route, target: Target) -> str:
    return route.runtime.label if target == Target(target.runtime) else str(target)


def _baseline(model: Model, candidates: tuple[Planned, ...], left_out: dict[str, LeftOut]) -> str:
    originals = [c for c in candidates if not c.candidate.recipe.steps]
    if not originals:
        reasons = "; ".join(dict.fromkeys(o.reason for o in left_out.values())) or "the space has no target"
        raise SettingError(
            f"Nothing to run: no runtime can run the original model ({reasons}).",
            remedy="choose other runtimes, or install what is missing.",
        )
    native = [c for c in originals if model.format in RUNTIMES.get(c.candidate.target.runtime).native_to]
    return (native or originals)[0].key


def _all_targets(model: Model) -> tuple[Target, ...]:
    names = [r.name for r in RUNTIMES.all() if (r.default or model.format in r.native_to) and not r.missing()]
    native = [n for n in names if model.format in RUNTIMES.get(n).native_to]
    return tuple(Target(n) for n in [*native, *(n for n in names if n not in native)])


def _check_target(target: Target, model: Model) -> None:
    if target.threads < 1 or target.batch_size < 1:
        raise SettingError(f"threads and batch_size must be at least 1, got {target}.")
    if any(length < 1 for length in target.lengths):
        raise SettingError(f"Lengths must be at least 1, got {', '.join(map(str, target.lengths))}.")
    if target.lengths and not any(None in (s.shape or (None,))[1:] for s in model.inputs):
        raise SettingError(
            f"Lengths are for inputs with free dimensions besides the batch; the model takes "
            f"{'; '.join(map(str, model.inputs))}.",
            remedy="leave lengths out, or export the model with a free dimension.",
        )

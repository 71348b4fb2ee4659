"""What a sweep would do, found from declared facts without importing a framework."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deploykit.core.candidate import Candidate, Recipe, Target
from deploykit.core.dataset import Dataset
from deploykit.core.errors import SettingError
from deploykit.core.model import Model
from deploykit.core.serial import Plain
from deploykit.core.space import Refine, Space
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sweeping.routes import BuildStep, Impossible, Routes
from deploykit.transforms._contract import TRANSFORMS

#: Share of examples whose answer a mild change flips, for the estimate of what the data can resolve.
_TYPICAL_FLIPS = 0.02


@dataclass(frozen=True)
class Planned(Plain):
    """A candidate that can be built.

    Attributes:
        candidate: Recipe (canonical: parameters without effect are dropped) and target.
        label: The recipe in words.
        family: Group in charts.
        steps: Keys of its build steps in order; empty for the model as given.
        format: Format of its artifact.
    """

    candidate: Candidate
    label: str
    family: str
    steps: tuple[str, ...]
    format: str

    @property
    def key(self) -> str:
        """The candidate's key."""
        return self.candidate.key


@dataclass(frozen=True)
class LeftOut(Plain):
    """A combination that is not a candidate.

    Attributes:
        label: Recipe and runtime in words.
        reason: Why.
    """

    label: str
    reason: str


@dataclass(frozen=True)
class Plan(Plain):
    """What would run.

    Attributes:
        candidates: In order; the baseline is among them.
        baseline: Key of the model as given on its own runtime: what the others are compared with.
        steps: Key → build step, inputs before outputs.
        left_out: Combinations that cannot be built, with the reason.
        duplicates: How many combinations were the same as another one.
        refine: Second round, planned when the first is measured.
        resolves: Half-width, as a share, to which the evaluation split can typically tell an accuracy change.
        evaluation_examples: Size of the evaluation split.
    """

    candidates: tuple[Planned, ...]
    baseline: str
    steps: dict[str, BuildStep]
    left_out: tuple[LeftOut, ...] = ()
    duplicates: int = 0
    refine: Refine = field(default_factory=Refine)
    resolves: float = 0.0
    evaluation_examples: int = 0

    def __str__(self) -> str:
        shared = sum(len(c.steps) for c in self.candidates) - len(self.steps)
        lines = [
            f"{len(self.candidates)} candidates, {len(self.steps)} build steps ({shared} shared), "
            f"{len(self.left_out)} combinations left out, {self.duplicates} duplicates merged",
            f"{self.evaluation_examples:,} evaluation examples typically resolve an accuracy change of "
            f"about ±{100 * self.resolves:.2f} pp",
        ]
        if self.refine.top:
            threads = ", ".join(map(str, self.refine.threads))
            lines.append(f"then the best {self.refine.top} again with {threads} threads")
        lines += [f"  {c.key}  {c.label} on {c.candidate.target}" for c in self.candidates]
        lines += [f"  left out: {o.label}: {o.reason}" for o in self.left_out]
        return "\n".join(lines)


def plan(model: Model, data: Any, space: Space | str | Path = "quick", *, seed: int = 0) -> Plan:
    """What a sweep of ``space`` would run, and what it cannot.

    Args:
        model: From ``dk.load``.
        data: A Dataset or a pair (x, y).
        space: A space, the name of a preset, or the path of a saved space.
        seed: Seed of the transforms.

    Raises:
        SettingError: The space names an unknown technique, runtime, parameter, or a bad value.
        DatasetError: The data do not fit the model.
    """
    data = Dataset.of(data).check(model)
    space = Space.of(space)
    return make(model, data, space, seed)


def make(model: Model, data: Dataset, space: Space, seed: int) -> Plan:
    """`plan` for data that have been checked."""
    routes = Routes(model, data, seed)
    targets = space.targets or _all_targets(model)
    found: dict[tuple[Any, ...], Planned] = {}
    steps: dict[str, BuildStep] = {}
    left_out: dict[str, LeftOut] = {}
    duplicates = 0
    for candidate in space.candidates(targets):
        _check_target(candidate.target)
        runtime = RUNTIMES.get(candidate.target.runtime)
        route = routes.find(candidate.recipe, runtime)
        if isinstance(route, Impossible):
            label = f"{describe(candidate.recipe)} on {runtime.label}"
            left_out.setdefault(label, LeftOut(label, route.reason))
            continue
        planned = _planned(candidate, route, model)
        identity = (route[-1].key if route else "", candidate.target)
        if identity in found:
            duplicates += 1
            continue
        found[identity] = planned
        steps.update({s.key: s for s in route})
    candidates = tuple(found.values())
    count = len(data.splits["evaluation"])
    return Plan(
        candidates,
        _baseline(model, candidates, left_out),
        steps,
        tuple(left_out.values()),
        duplicates,
        space.refine,
        1.96 * math.sqrt(_TYPICAL_FLIPS / count),
        count,
    )


def describe(recipe: Recipe) -> str:
    """A recipe in words: the labels of its techniques and the parameters that differ from their defaults."""
    return " → ".join(TRANSFORMS.get(s.technique).describe(s.parameters) for s in recipe.steps) or "original"


def _planned(candidate: Candidate, route: tuple[BuildStep, ...], model: Model) -> Planned:
    used = iter(s for s in route if s.kind == "transform")
    canonical = []
    for step in candidate.recipe.steps:
        technique = TRANSFORMS.get(step.technique)
        defaults = {p.name: p.default for p in technique.parameters}
        kept = {k: v for k, v in next(used).parameters.items() if v != defaults[k]}
        canonical.append(replace(step, parameters=kept))
    recipe = Recipe(tuple(canonical))
    return Planned(
        Candidate(recipe, candidate.target),
        describe(recipe),
        _family(recipe),
        tuple(s.key for s in route),
        route[-1].format if route else model.format,
    )


def _family(recipe: Recipe) -> str:
    kinds = dict.fromkeys(TRANSFORMS.get(s.technique).family for s in recipe.steps)
    return " + ".join(kinds) or "original"


def _baseline(model: Model, candidates: tuple[Planned, ...], left_out: dict[str, LeftOut]) -> str:
    originals = [c for c in candidates if not c.candidate.recipe.steps]
    if not originals:
        reasons = "; ".join(dict.fromkeys(o.reason for o in left_out.values())) or "the space has no target"
        raise SettingError(
            f"nothing to run: no runtime can run the model as given ({reasons}).",
            remedy="choose other runtimes, or install what is missing.",
        )
    native = [c for c in originals if model.format in RUNTIMES.get(c.candidate.target.runtime).native_to]
    return (native or originals)[0].key


def _all_targets(model: Model) -> tuple[Target, ...]:
    names = [r.name for r in RUNTIMES.all() if r.default and not r.missing()]
    native = [n for n in names if model.format in RUNTIMES.get(n).native_to]
    return tuple(Target(n) for n in [*native, *(n for n in names if n not in native)])


def _check_target(target: Target) -> None:
    if target.threads < 1 or target.batch_size < 1:
        raise SettingError(f"threads and batch_size must be at least 1, got {target}.")

"""What a sweep would do, found from declared facts without importing a framework."""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass, field, replace
from typing import Any

from deploykit.core.candidate import Candidate, Recipe, Target
from deploykit.core.check import Examined
from deploykit.core.contract import Contract
from deploykit.core.errors import SettingError
from deploykit.core.model import Model
from deploykit.core.parameter import Value
from deploykit.core.problem import Effect, Facts, Problem, Severity
from deploykit.core.resolution import TYPICAL_FLIPS, half_width
from deploykit.core.serial import Plain
from deploykit.core.space import Refine, Space
from deploykit.data.dataset import Dataset
from deploykit.data.reading import Reading
from deploykit.measuring.environment import core_count, cpu_features
from deploykit.measuring.probing import kernels
from deploykit.planning.history import How
from deploykit.planning.routes import BuildStep, Impossible, Routes
from deploykit.reporting import families
from deploykit.runtimes._contract import RUNTIMES
from deploykit.transforms._contract import TRANSFORMS


@dataclass(frozen=True)
class Planned(Plain):
    """A candidate that can be built.

    Attributes:
        candidate: Recipe (canonical: parameters without effect are dropped) and target.
        label: The recipe in words.
        family: Group in charts.
        steps: Keys of its build steps in order; empty for the original model.
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
        recipe: What would have been done; None when what is left out is not a recipe.
        target: Where it would have run.
    """

    label: str
    reason: str
    recipe: Recipe | None = None
    target: Target | None = None


@dataclass(frozen=True)
class Remark(Plain):
    """What is known of a candidate before it is built.

    Attributes:
        key: The candidate's key.
        label: Recipe and target in words.
        severity: ``"pointless"``: it will not be faster or better than what is cheaper; ``"note"``: worth knowing.
        reason: Why.
    """

    key: str
    label: str
    severity: Severity
    reason: str


@dataclass(frozen=True)
class Expected(Plain):
    """What a sweep will take. Work that the store already holds is not counted.

    Attributes:
        seconds: Expected wall-clock time.
        low: Lower end of a rough range.
        high: Upper end of it.
        stages: The same by stage: ``build``, ``accuracy``, ``latency``; start-up of processes is part of the first.
        known_from: What most of it rests on: durations of this model here, of other models here, or typical ones.
        steps: Build steps to do.
        evaluations: Evaluations to do.
        sessions: Sessions of each launch, baselines and their clones included.
        disk_bytes: Growth of the store.
    """

    seconds: float
    low: float
    high: float
    stages: dict[str, float]
    known_from: How
    steps: int
    evaluations: int
    sessions: int
    disk_bytes: int


@dataclass(frozen=True, repr=False)
class Plan(Plain):
    """What would run.

    Attributes:
        candidates: In order; the baseline is among them.
        baseline: Key of the original model on its own runtime: what the others are compared with.
        steps: Key → build step, inputs before outputs.
        left_out: Combinations that cannot be built, with the reason.
        duplicates: How many combinations were the same as another one.
        refine: Second round, planned when the first is measured.
        resolves: Half-width, as a share, to which the evaluation split can tell an accuracy change; 0 when the labels
            are not classes.
        evaluation_examples: Size of the evaluation split.
        remarks: What is known of candidates that are kept, and plainly said before the work.
        flips: Share of examples whose answer a candidate changes, which ``resolves`` rests on.
        flips_measured: Whether ``flips`` was measured on earlier candidates in the store, or is a typical value.
        max_drop: Largest loss the user allows, None when that was not said.
        options: Options of the sweep that differ from their defaults, by name.
        expected: What it will take, None if it was not requested.
        examined: What model and data are taken to mean, and whether the model does its job on them.
        reading: What was read as data, split and left out.
        examples: Sizes of the splits. If no technique trains the model, more of the examples compare candidates.
    """

    candidates: tuple[Planned, ...]
    baseline: str
    steps: dict[str, BuildStep]
    left_out: tuple[LeftOut, ...] = ()
    duplicates: int = 0
    refine: Refine = field(default_factory=Refine)
    resolves: float = 0.0
    evaluation_examples: int = 0
    remarks: tuple[Remark, ...] = ()
    flips: float = TYPICAL_FLIPS
    flips_measured: bool = False
    max_drop: float | None = None
    options: dict[str, Value] = field(default_factory=dict)
    expected: Expected | None = None
    examined: Examined | None = None
    reading: Reading | None = None
    examples: dict[str, int] = field(default_factory=dict)

    @property
    def contract(self) -> Contract | None:
        """What inputs, labels and outputs are taken to mean."""
        return self.examined.contract if self.examined else None

    @property
    def seconds(self) -> float:
        """Expected wall-clock time; 0 if it was not requested."""
        return self.expected.seconds if self.expected else 0.0

    @property
    def disk_bytes(self) -> int:
        """Expected growth of the store; 0 if it was not requested."""
        return self.expected.disk_bytes if self.expected else 0

    @property
    def pointless(self) -> tuple[Remark, ...]:
        """Candidates that will not be faster or better than what is cheaper."""
        return tuple(r for r in self.remarks if r.severity == "pointless")

    @property
    def examples_needed(self) -> int:
        """Evaluation examples that would confirm ``max_drop``; 0 when that cannot be determined."""
        return math.ceil(1.96**2 * self.flips / self.max_drop**2) if self.max_drop and self.resolves else 0

    @property
    def can_resolve(self) -> bool:
        """Whether the evaluation examples can confirm that ``max_drop`` is not passed."""
        return self.max_drop is None or not self.resolves or self.resolves <= self.max_drop

    @property
    def costs(self) -> tuple[str, ...]:
        """Expected time and disk in words."""
        from deploykit.planning.plan_text import costs

        return tuple(costs(self))

    @property
    def resolution(self) -> str:
        """What the evaluation examples can tell, in words; "" when that is not known."""
        from deploykit.planning.plan_text import resolution

        return resolution(self)

    @property
    def reasons(self) -> tuple[tuple[str, str], ...]:
        """What is said of candidates, gravest first: each reason once, with the candidates it is for."""
        from deploykit.planning.plan_text import grouped

        order = sorted(self.remarks, key=lambda r: r.severity != "pointless")
        return tuple(grouped((r.reason, r.label) for r in order))

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        from deploykit.planning.plan_text import text

        return text(self)

    def _repr_html_(self) -> str:
        from deploykit.planning.plan_text import html

        return html(self)


def make(model: Model, data: Dataset, space: Space, seed: int) -> Plan:
    """What a sweep would run on data that have been checked; `deploykit.planning.preview.plan` says what it takes."""
    data = data.check(model)
    routes = Routes(model, data, seed)
    judge = _Judge(model, data)
    targets = space.targets or _all_targets(model)
    found: dict[tuple[Any, ...], Planned] = {}
    steps: dict[str, BuildStep] = {}
    left_out: dict[str, LeftOut] = {}
    duplicates = 0
    remarks: list[Remark] = []
    for candidate in space.candidates(targets):
        _check_target(candidate.target)
        runtime = RUNTIMES.get(candidate.target.runtime)
        route = routes.find(candidate.recipe, runtime)
        if isinstance(route, Impossible):
            label = f"{describe(candidate.recipe)} on {runtime.label}"
            left_out.setdefault(label, LeftOut(label, route.reason, candidate.recipe, candidate.target))
            continue
        problems = judge.problems(route, candidate.target)
        if impossible := [p.reason for p in problems if p.severity == "impossible"]:
            label = f"{describe(candidate.recipe)} on {_where(candidate.target)}"
            left_out.setdefault(label, LeftOut(label, "; ".join(impossible), candidate.recipe, candidate.target))
            continue
        identity = (route[-1].key if route else "", candidate.target)
        if identity in found:
            duplicates += 1
            continue
        planned = found[identity] = _planned(candidate, route, model)
        label = f"{planned.label} on {_where(candidate.target)}"
        remarks += [Remark(planned.key, label, p.severity, p.reason) for p in problems]
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
        half_width(TYPICAL_FLIPS, count) if data.checked.scored.is_classes else 0.0,
        count,
        tuple(remarks),
        examined=Examined(data.checked),
        reading=data.reading,
        examples={name: len(split) for name, split in data.splits.items()},
    )


@dataclass(frozen=True)
class _Said:
    """What a technique says of one of its steps."""

    label: str
    problems: tuple[Problem, ...]
    effects: frozenset[Effect]
    quantizes: bool
    wants_float: bool


class _Judge:
    """What adapters say against combinations, asked once for each that differs."""

    def __init__(self, model: Model, data: Dataset) -> None:
        count = min(data.calibration_size, len(data.splits["train"]))
        self._facts = Facts(model, count, platform.machine(), cpu_features(), core_count(), kernels)
        self._variants: dict[str, _Said] = {}
        self._runtimes: dict[tuple[Target, frozenset[Effect]], tuple[Problem, ...]] = {}

    def problems(self, route: tuple[BuildStep, ...], target: Target) -> list[Problem]:
        """All of a route and its target, each reason once."""
        found: list[Problem] = []
        effects: frozenset[Effect] = frozenset()
        quantized = ""
        for step in route:
            if step.kind != "transform":
                continue
            if step.key not in self._variants:
                self._variants[step.key] = self._ask(step)
            said = self._variants[step.key]
            found += said.problems
            effects |= said.effects
            if quantized and said.wants_float:
                found.append(Problem("impossible", f"{said.label} after {quantized}: it is already quantized"))
            if said.quantizes:
                quantized = said.label
        if (target, effects) not in self._runtimes:
            runtime = RUNTIMES.get(target.runtime)
            self._runtimes[target, effects] = tuple(runtime.problems(target, effects, self._facts))
        return list(dict.fromkeys([*found, *self._runtimes[target, effects]]))

    def _ask(self, step: BuildStep) -> _Said:
        technique = TRANSFORMS.get(step.adapter)
        variant = technique.variant(step.variant)
        effects = variant.effects(step.parameters)
        return _Said(
            technique.label,
            tuple(variant.problems(step.parameters, self._facts)),
            effects,
            "quantized" in effects,
            variant.quantizes_float,
        )


def _where(target: Target) -> str:
    plain = target == Target(target.runtime)
    return RUNTIMES.get(target.runtime).label if plain else str(target)


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
        families.of_recipe(recipe),
        tuple(s.key for s in route),
        route[-1].format if route else model.format,
    )


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
    names = [r.name for r in RUNTIMES.all() if r.default and not r.missing()]
    native = [n for n in names if model.format in RUNTIMES.get(n).native_to]
    return tuple(Target(n) for n in [*native, *(n for n in names if n not in native)])


def _check_target(target: Target) -> None:
    if target.threads < 1 or target.batch_size < 1:
        raise SettingError(f"threads and batch_size must be at least 1, got {target}.")

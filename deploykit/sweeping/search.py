"""Searching a space instead of trying all of it, with Optuna's samplers.

The space says what may vary: techniques are combined as its recipes combine them, numbers move between the smallest and
the largest value its recipes give, other settings take the values they give. Candidates are asked for in small batches
that are built, evaluated and timed like those of a grid; every row the store holds already teaches the sampler, so a
search that was interrupted or gets a larger budget continues where it was.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from deploykit.choosing.pareto import cost_of
from deploykit.core.candidate import Candidate, Recipe, Step, Target
from deploykit.core.extras import require
from deploykit.core.parameter import Parameter, Value
from deploykit.core.result import Result
from deploykit.planning.plan import Plan
from deploykit.transforms._contract import TRANSFORMS

#: Candidates of a batch: their sessions are timed together, so a batch shares the baseline's launches.
BATCH = 6
#: Proposals in a row that were known already, after which the space counts as exhausted.
_PATIENCE = 200


@dataclass(frozen=True)
class _Axis:
    """A setting that varies: a range (``values`` has both ends) or a list of values."""

    name: str
    step: int
    parameter: Parameter
    values: tuple[Value, ...]

    @property
    def is_range(self) -> bool:
        return self.parameter.kind in {"float", "int"} and None not in self.values

    def suggest(self, trial: Any) -> Value:
        if not self.is_range:
            place: int = trial.suggest_categorical(self.name, list(range(len(self.values))))
            return self.values[place]
        low, high = self._ends()
        if self.parameter.kind == "int":
            return int(trial.suggest_int(self.name, int(low), int(high)))
        value = float(trial.suggest_float(self.name, low, high))
        grid = self.parameter.step
        return min(high, max(low, round(round(value / grid) * grid, 10))) if grid else value

    def distribution(self, distributions: Any) -> Any:
        if not self.is_range:
            return distributions.CategoricalDistribution(list(range(len(self.values))))
        low, high = self._ends()
        if self.parameter.kind == "int":
            return distributions.IntDistribution(int(low), int(high))
        return distributions.FloatDistribution(low, high)

    def place(self, value: Value) -> Any:
        """The value as Optuna stores it, None when it is outside."""
        if not self.is_range:
            return self.values.index(value) if value in self.values else None
        low, high = self._ends()
        inside = isinstance(value, int | float) and low <= value <= high
        return value if inside else None

    def _ends(self) -> tuple[float, float]:
        numbers = [v for v in self.values if isinstance(v, int | float)]
        return float(min(numbers)), float(max(numbers))


@dataclass(frozen=True)
class _Arm:
    """Recipes of the same techniques on one target: fixed settings, and those that vary."""

    techniques: tuple[str, ...]
    target: Target
    fixed: tuple[dict[str, Value], ...]
    axes: tuple[_Axis, ...]

    def candidate(self, trial: Any) -> Candidate:
        values = [dict(f) for f in self.fixed]
        for axis in self.axes:
            values[axis.step][axis.parameter.name] = axis.suggest(trial)
        steps = (Step(t, v) for t, v in zip(self.techniques, values, strict=True))
        return Candidate(Recipe(tuple(steps)), self.target)

    def at(self, candidate: Candidate) -> Candidate:
        """A candidate of this arm with all its settings written out, as `candidate` gives them."""
        steps = (Step(s.technique, TRANSFORMS.get(s.technique).complete(s.parameters)) for s in candidate.recipe.steps)
        return Candidate(Recipe(tuple(steps)), self.target)

    def places(self, candidate: Candidate) -> dict[str, Any] | None:
        """A candidate as Optuna's parameters, None when it is not of this arm."""
        steps = candidate.recipe.steps
        if tuple(s.technique for s in steps) != self.techniques or candidate.target != self.target:
            return None
        values = [dict(TRANSFORMS.get(s.technique).complete(s.parameters)) for s in steps]
        found: dict[str, Any] = {}
        for axis in self.axes:
            place = axis.place(values[axis.step].pop(axis.parameter.name))
            if place is None:
                return None
            found[axis.name] = place
        return found if values == [dict(f) for f in self.fixed] else None


class Searcher:
    """Proposes candidates and learns from their rows.

    Args:
        plan: The plan of the whole space: what can be built.
        kind: ``"tpe"``, ``"nsga2"`` or ``"random"``.
        cost: Name of the cost to minimize besides the loss.
        max_drop: Loss above which no candidate is wanted, None when there is no limit.
        seed: The same seed and rows give the same proposals.
    """

    def __init__(self, plan: Plan, kind: str, cost: str, max_drop: float | None, seed: int) -> None:
        self._cost = cost_of(cost)
        self._max_drop = max_drop
        self._arms = _arms(plan)
        self._waiting: dict[str, Any] = {}
        self._asked: set[str] = set()
        candidates = [c.candidate for c in plan.candidates]
        first = [next(p for c in candidates if (p := arm.places(c)) is not None) for arm in self._arms]
        with _quiet() as optuna:
            self._study = optuna.create_study(
                directions=["minimize", "minimize"], sampler=_sampler(kind, seed, self._constraints)
            )
            for i, places in enumerate(first):
                self._study.enqueue_trial({**places, "arm": i})

    def holds(self, candidate: Candidate) -> bool:
        """Whether a candidate lies in the space."""
        return self._find(candidate) is not None

    def ask(self, count: int) -> list[Candidate]:
        """New candidates, fewer when hardly any are left."""
        found: dict[str, Candidate] = {}
        misses = 0
        with _quiet() as optuna:
            while len(found) < count and misses < _PATIENCE and self._arms:
                trial = self._study.ask()
                arm = self._arms[trial.suggest_categorical("arm", list(range(len(self._arms))))]
                candidate = arm.candidate(trial)
                key = _identity(candidate)
                if key in self._asked:
                    misses += 1
                    self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
                    continue
                self._asked.add(key)
                self._waiting[key] = trial
                found[key] = candidate
        return list(found.values())

    def tell(self, found: Sequence[tuple[Candidate, Result | None]]) -> None:
        """Learn what became of candidates: those that were asked for, and those an earlier sweep has left.

        Args:
            found: Candidates with their rows, None for those that cannot be built.
        """
        with _quiet() as optuna:
            for candidate, row in found:
                trial = self._waiting.pop(_identity(candidate), None)
                values = self._values(row)
                if trial is None:
                    if values is not None:
                        self._learn(optuna, candidate, values, self._excess(row))
                    continue
                trial.set_user_attr("excess", self._excess(row))
                state = None if values is not None else optuna.trial.TrialState.FAIL
                self._study.tell(trial, values, state=state)

    def _learn(self, optuna: Any, candidate: Candidate, values: tuple[float, float], excess: float) -> None:
        found = self._find(candidate)
        if found is None:
            return
        place, places = found
        self._asked.add(_identity(self._arms[place].at(candidate)))
        arms = optuna.distributions.CategoricalDistribution(list(range(len(self._arms))))
        axes = {a.name: a.distribution(optuna.distributions) for a in self._arms[place].axes}
        trial = optuna.trial.create_trial(
            params={"arm": place, **places}, distributions={"arm": arms, **axes}, values=values,
            user_attrs={"excess": excess},
        )  # fmt: skip
        self._study.add_trial(trial)

    def _find(self, candidate: Candidate) -> tuple[int, dict[str, Any]] | None:
        for place, arm in enumerate(self._arms):
            if (places := arm.places(candidate)) is not None:
                return place, places
        return None

    def _values(self, row: Result | None) -> tuple[float, float] | None:
        """Loss and logarithm of the cost; None for a row that failed or has no cost."""
        if row is None or row.measurement is None or row.status == "failed":
            return None
        cost = self._cost(row)
        if cost is None and row.status == "stopped":  # it is out for its loss: its size stands for its cost
            return row.measurement.score.drop.value, 0.0
        return None if cost is None else (row.measurement.score.drop.value, math.log(max(cost.value, 1e-12)))

    def _excess(self, row: Result | None) -> float:
        """How far the loss may lie above the limit; positive misses it."""
        if self._max_drop is None or row is None or row.measurement is None:
            return 0.0
        return row.measurement.score.drop.high - self._max_drop

    @staticmethod
    def _constraints(trial: Any) -> tuple[float, ...]:
        return (float(trial.user_attrs.get("excess", 0.0)),)


def _identity(candidate: Candidate) -> str:
    return f"{candidate.recipe.key} {candidate.target}"


def _arms(plan: Plan) -> list[_Arm]:
    grouped: dict[tuple[tuple[str, ...], Target], list[list[dict[str, Value]]]] = {}
    for planned in plan.candidates:
        steps = planned.candidate.recipe.steps
        if steps:
            values = [dict(TRANSFORMS.get(s.technique).complete(s.parameters)) for s in steps]
            grouped.setdefault((tuple(s.technique for s in steps), planned.candidate.target), []).append(values)
    return [_arm(techniques, target, members) for (techniques, target), members in grouped.items()]


def _arm(techniques: tuple[str, ...], target: Target, members: list[list[dict[str, Value]]]) -> _Arm:
    fixed: list[dict[str, Value]] = []
    axes = []
    for i, technique in enumerate(techniques):
        fixed.append({})
        for parameter in TRANSFORMS.get(technique).parameters:
            values = tuple(dict.fromkeys(m[i][parameter.name] for m in members))
            if len(values) > 1:
                name = f"{'+'.join(techniques)}/{i}/{parameter.name} on {target}"
                axes.append(_Axis(name, i, parameter, values))
            else:
                fixed[i][parameter.name] = values[0]
    return _Arm(techniques, target, tuple(fixed), tuple(axes))


def _sampler(kind: str, seed: int, constraints: Any) -> Any:
    samplers = require("optuna", "search").samplers
    if kind == "random":
        return samplers.RandomSampler(seed)
    if kind == "nsga2":
        return samplers.NSGAIISampler(population_size=2 * BATCH, seed=seed, constraints_func=constraints)
    return samplers.TPESampler(
        seed=seed, n_startup_trials=2 * BATCH, multivariate=True, group=True, constant_liar=True,
        constraints_func=constraints,
    )  # fmt: skip


@contextlib.contextmanager
def _quiet() -> Iterator[Any]:
    """Optuna without its log lines and its warnings about experimental arguments."""
    optuna = require("optuna", "search")
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield optuna
    finally:
        optuna.logging.set_verbosity(level)

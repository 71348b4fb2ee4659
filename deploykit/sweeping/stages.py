"""The stages of a sweep: build and evaluate, time, then further rounds of candidates."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from deploykit.core.adapter import Group
from deploykit.core.candidate import Candidate
from deploykit.core.check import Examined
from deploykit.core.contract import Declared
from deploykit.core.errors import CandidateError, DeploykitError
from deploykit.core.model import Model
from deploykit.core.settings.budget import Budget
from deploykit.core.space import Space
from deploykit.data.dataset import Dataset
from deploykit.engines._contract import Running
from deploykit.measuring.latency import Timer
from deploykit.metrics._contract import Metric
from deploykit.planning.expected import expect as estimate
from deploykit.planning.expected import second_round, sessions
from deploykit.planning.known import Known
from deploykit.planning.plan import Plan
from deploykit.planning.planned import LeftOut, Planned
from deploykit.planning.planner import make
from deploykit.planning.protocol import useless_threads
from deploykit.planning.routes import Routes
from deploykit.planning.settings import Settings
from deploykit.planning.steps import BuildStep, tools
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sandbox.supervisor import warm_groups
from deploykit.storage.store import Store
from deploykit.sweeping.attacks import Attacks
from deploykit.sweeping.background import wait_turn
from deploykit.sweeping.evaluator import Evaluator, Racing
from deploykit.sweeping.layerwise import Pass, PassState
from deploykit.sweeping.profiling import Profiling
from deploykit.sweeping.questions import pass_name, questions
from deploykit.sweeping.search import BATCH, Searcher
from deploykit.sweeping.state import State
from deploykit.sweeping.timing import Ready, TimingStage
from deploykit.sweeping.workshop import ENDS_THE_SWEEP, Workshop

#: The limit that decides which candidates the second round takes, unless the sweep was given one.
_REFINE_DROP = 0.01
#: Batches without a new candidate after which a search ends: what still varies has no effect.
_IDLE = 5
#: Exclusions that a pass of sensitivity adds to the candidates.
_SUGGESTED = 4


@dataclass
class Context:
    """What the stages work on.

    Attributes:
        model: The original model.
        data: The data, inputs named as the model's.
        store: Where everything is kept.
        name: What sweeps of one model, dataset and metric share.
        settings: How it runs.
        routes: How candidates are built.
        plan: What it runs.
        state: Rows and progress.
        cancel: Set to stop.
        resume: Cleared to pause.
        declared: What the user says of the signature.
    """

    model: Model
    data: Dataset
    store: Store
    name: str
    settings: Settings
    routes: Routes
    plan: Plan
    state: State
    cancel: threading.Event
    resume: threading.Event
    declared: Declared = field(default_factory=Declared)

    def facts(self, metric: Metric | None, examined: Examined | None = None) -> dict[str, Any]:
        """What a report says of the sweep as a whole; the metric is None before the baseline is evaluated."""
        given = self.settings.options["metric"]
        asked = given if isinstance(given, str) else ""
        return {
            "model": self.model.to_json(),
            "data": self.store.relative(self.store.folder("data", self.data.digest)),
            "baseline": self.plan.baseline,
            "metric": metric.name if metric else asked,
            "metric_reason": f"the metric is {metric.label}: {metric.why}." if metric and asked == "auto" else "",
            "higher_is_better": metric.higher_is_better if metric else True,
            "relative": metric.relative if metric else False,
            "left_out": [o.to_json() for o in self.plan.left_out],
            "resolves": self.plan.resolves,
            "max_drop": self.settings.options["max_drop"],
            "cost": self.settings.cost,
            "declared": self.declared.to_json(),
            "contract": (examined.contract if examined else self.data.checked).to_json(),
            "check": examined.check.to_json() if examined else None,
        }

    def pause(self) -> None:
        """Return when work may continue.

        Raises:
            Cancelled: The user cancelled.
        """
        wait_turn(self.cancel, self.resume)


class Stages:
    """One run of a sweep, in its own thread."""

    def __init__(self, context: Context, running: Running) -> None:
        self._context = context
        self._plan = context.plan
        self._state = context.state
        self._settings = context.settings
        self._options = context.settings.options
        self._running = running
        self._state.slots = running.slots
        self._workshop = Workshop(
            context.store, running, context.model, context.data, self._options["seed"], self._settings.limits,
            context.declared,
        )  # fmt: skip
        racing = Racing(self._settings.stops_above, self._settings.cost)
        self._evaluator = Evaluator(
            self._workshop, running, context.state, self._options["metric"], racing, context.pause,
            timed=bool(self._options["launches"]), attacks=self._attacks(running),
        )  # fmt: skip
        self._baseline = next(c for c in self._plan.candidates if c.key == self._plan.baseline)
        self._planned: dict[str, Planned] = {}
        self._last = False

    def _attacks(self, running: Running) -> Attacks | None:
        count, strength = self._options["attacks"], self._options["strength"]
        return Attacks(self._workshop, running, count, strength, self._options["seed"]) if count else None

    def run(self) -> None:
        """All stages.

        Raises:
            Cancelled: The user cancelled.
            DeploykitError: The original model cannot be built or evaluated: nothing can be compared.
        """
        searching = self._settings.budget is not None
        first = [c for c in self._plan.candidates if not (searching and c.candidate.recipe.steps)]
        self._add(first)
        self._put_facts()
        self._foresee(searching=searching)
        self._state.say("plan", "starting processes")
        for group in self._groups():
            if group not in warm_groups():
                unit = self._state.durations.units.start(group)
                self._state.durations.expect(unit.identity, unit)
                self._state.durations.begin(unit.identity)
            self._running.warm(group)
        self._workshop.save_data()
        self._state.foresee("work", None)
        others = [c for c in first if c.key != self._baseline.key]
        self._evaluator.run([self._baseline], self._steps(first), others)
        if (row := self._state.row(self._baseline.key)).failure is not None:
            cause, remedy = row.failure.cause, row.failure.remedy
            raise CandidateError(f"The original model cannot be used: {cause}", remedy=remedy, log=row.failure.log)
        self._put_facts()
        self._round(first, self._steps(first))
        if self._settings.budget is not None:
            self._search(self._settings.budget)
        if self._options["sensitivity"]:
            self._round(*self._exclusions())
        self._last = True
        self._round(self._refined(), {})
        self._state.foresee("later", None)

    def _foresee(self, *, searching: bool) -> None:
        """Expect what the plan expects, until more is known."""
        context, state, protocol = self._context, self._state, self._settings.protocol
        known = Known(
            context.store, context.model, context.data, protocol, self._settings.stops_above, context.declared
        )
        durations = state.durations
        expected = estimate(
            self._plan, durations.units, durations.history, protocol, known=known, slots=state.slots,
            warm=warm_groups(),
        )  # fmt: skip
        stages = expected.stages
        state.foresee("work", lambda: stages["build"] + stages["accuracy"])
        targets = second_round(self._plan) if stages["latency"] and not searching else []
        home = self._baseline.candidate.target
        found = sessions([(target, False) for target in targets], home) if targets else []
        later = protocol.launches * durations.sessions(found)
        timing = max(0.0, stages["latency"] - later)
        state.foresee("latency", lambda: timing * durations.pace(expected.known_from))
        state.foresee("later", lambda: later * durations.pace(expected.known_from))

    # -- rounds -----------------------------------------------------------------------------------------------------

    def _round(self, candidates: list[Planned], steps: dict[str, BuildStep]) -> None:
        """Build, evaluate and time candidates."""
        if not candidates:
            return
        targets = [c.candidate.target for c in candidates]
        self._running.require({t.device for t in targets}, tools(steps.values(), {t.runtime for t in targets}))
        self._add(candidates)
        self._evaluator.run([c for c in candidates if c.key != self._baseline.key], steps)
        if self._options["launches"]:
            self._time(candidates)

    def _search(self, budget: Budget) -> None:
        """Rounds of candidates that a sampler proposes, until the budget is spent."""
        options, started = self._options, time.monotonic()
        searcher = Searcher(self._plan, options["search"], self._settings.cost, options["max_drop"], options["seed"])
        batch = [r.candidate for r in self._state.earlier if r.key not in self._planned and searcher.holds(r.candidate)]
        first, idle = len(self._planned), 0
        self._state.foresee("search", self._searching(budget, started, first))
        while idle < _IDLE and (batch or (room := budget.room(len(self._planned) - first, started, BATCH))):
            batch = batch or searcher.ask(room)
            if not batch:
                break
            plans = [(candidate, self._replan(candidate)) for candidate in batch]
            asked = [
                (candidate, next((p for p in plan.candidates if p.candidate.recipe.steps), None))
                for candidate, plan in plans
            ]
            new = {p.key: p for _, p in asked if p is not None and p.key not in self._planned}
            self._round(list(new.values()), {key: step for _, plan in plans for key, step in plan.steps.items()})
            rows = {row.key: row for row in self._state.rows}
            searcher.tell([(candidate, rows.get(p.key) if p else None) for candidate, p in asked])
            batch, idle = [], 0 if new else idle + 1
        self._state.foresee("search", None)

    def _searching(self, budget: Budget, started: float, first: int) -> Callable[[], float]:
        """What the batches take that are not asked for yet: the rest of the time, or what those before took."""
        state = self._state

        def left() -> float:
            spent = time.monotonic() - started
            if budget.seconds is not None:
                return budget.seconds - spent - state.durations.left(state.slots)
            known = [p for p in tuple(self._planned) if state.row(p).status != "pending"]
            done = max(1, len(known) - first)
            return max(0, (budget.candidates or 0) - (len(self._planned) - first)) * spent / done

        return left

    def _exclusions(self) -> tuple[list[Planned], dict[str, BuildStep]]:
        """Candidates that leave out layers which suffer, for each technique that can."""
        context, options = self._context, self._options
        targets = tuple(dict.fromkeys(c.candidate.target for c in self._plan.candidates))
        found: dict[str, Planned] = {}
        steps: dict[str, BuildStep] = {}
        for question in questions(context.routes, list(self._planned.values()), self._state):
            try:
                state = PassState(self._state, pass_name(context.name, question, options["seed"]))
                one = Pass(question, context.routes, self._workshop, self._running, state, options["metric"])
                recipes = one.run(context.pause).recipes(_SUGGESTED)
            except ENDS_THE_SWEEP:
                raise
            except DeploykitError as error:
                left = LeftOut(f"sensitivity of {question.technique}", error.message)
                self._plan = replace(self._plan, left_out=(*self._plan.left_out, left))
                self._put_facts()
                continue
            more = make(context.routes, Space(recipes, targets))
            found |= {c.key: c for c in more.candidates if c.key not in self._planned}
            steps |= more.steps
        return list(found.values()), steps

    def _replan(self, candidate: Candidate) -> Plan:
        """The plan of one more candidate."""
        return make(self._context.routes, Space((candidate.recipe,), (candidate.target,)))

    def _add(self, candidates: list[Planned]) -> None:
        for planned in candidates:
            if planned.key not in self._planned:
                self._state.add(planned, len(self._planned))
                self._planned[planned.key] = planned

    def _steps(self, candidates: list[Planned]) -> dict[str, BuildStep]:
        return {key: self._plan.steps[key] for planned in candidates for key in planned.steps}

    def _refined(self) -> list[Planned]:
        """The second round: the best candidates with other numbers of threads."""
        refine = self._plan.refine
        found = []
        for planned in self._best(refine.top):
            for threads in refine.threads:
                target = replace(planned.candidate.target, threads=threads)
                if target != planned.candidate.target and not useless_threads(threads):
                    found.append(replace(planned, candidate=Candidate(planned.candidate.recipe, target)))
        return [c for c in found if c.key not in self._planned]

    def _best(self, top: int) -> list[Planned]:
        limit = _REFINE_DROP if self._options["max_drop"] is None else self._options["max_drop"]

        def order(planned: Planned) -> tuple[bool, float]:
            measurement = self._state.row(planned.key).measurement
            assert measurement is not None
            assert measurement.latency is not None
            return (measurement.score.drop.high > limit, -measurement.latency.speedup.value)

        rows = {c.key: self._state.row(c.key) for c in self._planned.values()}
        timed = [
            c
            for c in self._planned.values()
            if (m := rows[c.key].measurement) and m.latency and rows[c.key].status == "measured"
        ]
        return sorted((c for c in timed if not rows[c.key].same_as), key=order)[:top]

    # -- latency ----------------------------------------------------------------------------------------------------

    def _time(self, candidates: list[Planned]) -> None:
        timer = Timer(
            self._running,
            self._workshop.data_folder,
            self._context.store.path / "logs",
            self._settings.protocol.rounds,
            self._options["seed"],
            self._settings.limits.timeout_s,
            self._settings.limits.memory_bytes,
        )
        base = self._ready([self._baseline])[0]
        stage = TimingStage(self._workshop, self._state, timer, self._settings.protocol, base, last=self._last)
        ready = self._ready(candidates)
        profiling = Profiling(self._workshop, self._running, self._state, ready)
        stage.run(ready, self._context.pause)
        profiling.run(self._context.pause)

    def _ready(self, candidates: list[Planned]) -> list[Ready]:
        originals = {_place(c): c for c in self._plan.candidates if not c.candidate.recipe.steps}
        found = []
        for planned in candidates:
            row = self._state.row(planned.key)
            if row.status in {"failed", "stopped"} or row.measurement is None:
                continue
            original = originals.get(_place(planned))
            usable = original is not None and self._state.row(original.key).status != "failed"
            reference = self._evaluator.opened(original) if original is not None and usable else None
            found.append(Ready(planned, self._evaluator.opened(planned), reference))
        return found

    # -- facts ------------------------------------------------------------------------------------------------------

    def _groups(self) -> list[Group]:
        groups = dict.fromkeys(s.group for s in self._plan.steps.values())
        groups |= dict.fromkeys(RUNTIMES.get(c.candidate.target.runtime).group for c in self._plan.candidates)
        return [g for g in groups if not self._all_built(g)]

    def _all_built(self, group: str) -> bool:
        """Whether nothing is left to do in a group, so that a resumed sweep imports no framework for it."""
        steps = [s for s in self._plan.steps.values() if s.group == group]
        runs = [c for c in self._plan.candidates if RUNTIMES.get(c.candidate.target.runtime).group == group]
        return not runs and all(self._workshop.built(s) is not None for s in steps)

    def _put_facts(self) -> None:
        judge = self._evaluator.judge
        facts = self._context.facts(judge.metric if judge else None, self._workshop.examined)
        self._context.store.put_sweep(self._context.name, facts)


def _place(planned: Planned) -> tuple[str, str, int]:
    """Candidates of one place can open each other's files: what was compiled is for one batch size."""
    target = planned.candidate.target
    return target.runtime, target.device, target.batch_size if planned.compiled else 0

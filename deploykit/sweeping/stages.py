"""The stages of a sweep: build, evaluate, time, refine."""

from __future__ import annotations

import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deploykit.core.adapter import Group
from deploykit.core.candidate import Candidate
from deploykit.core.dataset import Dataset
from deploykit.core.errors import Cancelled, CandidateError, DeploykitError
from deploykit.core.model import Model
from deploykit.core.store import Store
from deploykit.engines._contract import Running
from deploykit.measuring.latency import Timer
from deploykit.metrics._choose import MetricLike
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sweeping.building import Built, Limits, Workshop
from deploykit.sweeping.plan import Plan, Planned
from deploykit.sweeping.routes import BuildStep
from deploykit.sweeping.scoring import Judge
from deploykit.sweeping.state import State
from deploykit.sweeping.timing import Protocol, Ready, TimingStage, useless_threads

#: The limit that decides which candidates the second round takes.
_REFINE_DROP = 0.01


@dataclass(frozen=True)
class Settings:
    """How a sweep runs; none of it changes what a candidate is."""

    metric: MetricLike = "auto"
    engine: str = "local"
    seed: int = 0
    limits: Limits = field(default_factory=Limits)
    protocol: Protocol = field(default_factory=Protocol)


@dataclass
class Context:
    """What the stages work on.

    Attributes:
        model: The model as given.
        data: The data, inputs named as the model's.
        store: Where everything is kept.
        name: What sweeps of one model, dataset and metric share.
        settings: How it runs.
        plan: What it runs.
        state: Rows and progress.
        cancel: Set to stop.
        resume: Cleared to pause.
    """

    model: Model
    data: Dataset
    store: Store
    name: str
    settings: Settings
    plan: Plan
    state: State
    cancel: threading.Event
    resume: threading.Event


class Stages:
    """One run of a sweep, in its own thread."""

    def __init__(self, context: Context, running: Running) -> None:
        self._plan = context.plan
        self._state = context.state
        self._store = context.store
        self._settings = context.settings
        self._model = context.model
        self._cancel = context.cancel
        self._resume = context.resume
        self._context = context.name
        self._running = running
        self._workshop = Workshop(
            context.store, running, context.model, context.data, self._settings.seed, self._settings.limits
        )
        self._built: dict[str, Built] = {}
        self._broken: dict[str, tuple[DeploykitError, str]] = {}
        self._started: set[str] = set()
        self._evaluated: dict[str, dict[str, Any] | DeploykitError] = {}
        self._judge: Judge | None = None
        self._output_names: list[str] = []

    def run(self) -> None:
        """All stages.

        Raises:
            Cancelled: The user cancelled.
            DeploykitError: The model as given cannot be built or evaluated: nothing can be compared.
        """
        for place, planned in enumerate(self._plan.candidates):
            self._state.add(planned, place)
        self._put_facts("")
        self._state.say("plan", "starting processes")
        for group in self._groups():
            self._running.warm(group)
        self._workshop.save_data()
        baseline = next(c for c in self._plan.candidates if c.key == self._plan.baseline)
        self._state.expect("step", len(self._plan.steps) + 1)
        self._state.expect("evaluation", len({self._evaluation_unit(c) for c in self._plan.candidates}))
        self._build_and_evaluate([baseline])
        if (row := self._state.row(baseline.key)).failure is not None:
            cause, remedy = row.failure.cause, row.failure.remedy
            raise CandidateError(f"the model as given cannot be used: {cause}", remedy=remedy, log=row.failure.log)
        self._put_facts(self._judge.metric.name if self._judge else "")
        self._build_and_evaluate([c for c in self._plan.candidates if c.key != baseline.key])
        self._time(list(self._plan.candidates), baseline)
        self._refine(baseline)

    def _groups(self) -> list[Group]:
        groups = dict.fromkeys(s.group for s in self._plan.steps.values())
        groups |= dict.fromkeys(RUNTIMES.get(c.candidate.target.runtime).group for c in self._plan.candidates)
        return [g for g in groups if not self._all_built(g)]

    def _all_built(self, group: str) -> bool:
        """Whether nothing is left to do in a group, so that a resumed sweep imports no framework for it."""
        steps = [s for s in self._plan.steps.values() if s.group == group]
        runs = [c for c in self._plan.candidates if RUNTIMES.get(c.candidate.target.runtime).group == group]
        return not runs and all(self._workshop.built(s) is not None for s in steps)

    def _put_facts(self, metric: str) -> None:
        self._store.put_sweep(
            self._context,
            {
                "model": self._model.to_json(),
                "data": str(self._store.relative(self._workshop.data_folder)),
                "baseline": self._plan.baseline,
                "metric": metric or (self._settings.metric if isinstance(self._settings.metric, str) else ""),
                "higher_is_better": self._judge.metric.higher_is_better if self._judge else True,
                "relative": self._judge.metric.relative if self._judge else False,
                "left_out": [o.to_json() for o in self._plan.left_out],
                "resolves": self._plan.resolves,
            },
        )

    def _pause(self) -> None:
        while not self._resume.wait(0.2):
            if self._cancel.is_set():
                break
        if self._cancel.is_set():
            raise Cancelled("cancelled.")

    # -- build and evaluate -----------------------------------------------------------------------------------------

    def _build_and_evaluate(self, candidates: list[Planned]) -> None:
        waiting = list(candidates)
        flying: dict[Future[dict[str, Any]], tuple[str, Any, float]] = {}
        while waiting or flying:
            self._pause()
            for planned in list(waiting):
                if len(flying) >= self._running.slots + 1:
                    break
                if self._advance(planned, flying):
                    waiting.remove(planned)
            finished, _ = wait(flying, timeout=0.2, return_when=FIRST_COMPLETED)
            for future in finished:
                kind, subject, began = flying.pop(future)
                self._finish(kind, subject, future, time.monotonic() - began)

    def _advance(self, planned: Planned, flying: dict[Future[Any], tuple[str, Any, float]]) -> bool:
        """Start the candidate's next piece of work if it can start; True when nothing is left to do for it."""
        built = self._source(planned, flying)
        if built is None:
            return self._state.row(planned.key).status == "failed"
        key = self._workshop.evaluation_key(built, planned.candidate.target)
        record = self._evaluated.get(key) or self._workshop.evaluated(key)
        if record is None:
            if key not in self._started and len(flying) < self._running.slots + 1:
                self._started.add(key)
                doing = f"evaluating {planned.label} on {planned.candidate.target.runtime}"
                future = self._workshop.start_evaluation(
                    built, planned.format, planned.candidate.target, self._output_names, self._reporter(doing)
                )
                flying[future] = ("evaluation", (key, doing), time.monotonic())
            return False
        if key not in self._started:
            self._started.add(key)
            self._state.finish("evaluation", None)
        self._score(planned, built, key, record)
        return True

    def _source(self, planned: Planned, flying: dict[Future[Any], tuple[str, Any, float]]) -> Built | None:
        """The candidate's artifact, None while it is being built or when it cannot be."""
        source: Built | None = None
        for key in ("", *planned.steps):
            step = self._plan.steps[key] if key else None
            identity = key or "given"
            if identity not in self._built and identity not in self._broken:
                self._begin_step(step, identity, source, flying)
            if identity in self._broken:
                self._state.failed(planned.key, *self._broken[identity])
                return None
            if identity not in self._built:
                return None
            source = self._built[identity]
        if source is not None:
            self._state.built(planned.key, source, self._notes(planned))
        return source

    def _notes(self, planned: Planned) -> dict[str, Any]:
        """What the candidate's build steps reported, by adapter."""
        found = {self._plan.steps[key].adapter: self._built[key].notes for key in planned.steps}
        return {adapter: notes for adapter, notes in found.items() if notes}

    def _begin_step(
        self, step: BuildStep | None, identity: str, source: Built | None,
        flying: dict[Future[Any], tuple[str, Any, float]]
) -> None:  # fmt: skip
        if identity in self._started:
            return
        found = self._workshop.built(step)
        if found is not None:
            self._started.add(identity)
            self._keep_step(step, found)
            self._state.finish("step", None)
        elif len(flying) < self._running.slots + 1:
            self._started.add(identity)
            path = self._workshop.path(source) if source else Path(self._model.path)
            words = step.words if step else "reading the model"
            future = self._workshop.start_step(step, path, self._reporter(words))
            flying[future] = ("step", step, time.monotonic())
            self._state.say("build", words)

    def _keep_step(self, step: BuildStep | None, found: Built | DeploykitError) -> None:
        identity = step.key if step else "given"
        if isinstance(found, DeploykitError):
            self._broken[identity] = (found, f"build: {step.words if step else 'reading the model'}")
        else:
            self._built[identity] = found

    def _finish(self, kind: str, subject: Any, future: Future[dict[str, Any]], seconds: float) -> None:
        if kind == "step":
            self._keep_step(subject, self._workshop.finish_step(subject, future))
            doing = f"built: {subject.words}" if subject else "read the model"
            phase = "build"
        else:
            key, doing = subject
            self._evaluated[key] = self._workshop.finish_evaluation(key, future)
            phase = "accuracy"
        self._state.finish(kind, seconds)
        self._state.say(phase, doing)  # type: ignore[arg-type]  # both are phases

    def _score(self, planned: Planned, built: Built, key: str, record: dict[str, Any] | DeploykitError) -> None:
        if isinstance(record, DeploykitError):
            self._state.failed(planned.key, record, "accuracy")
            return
        if self._judge is None:  # the first candidate is the baseline
            self._output_names = record["outputs"]
            self._judge = Judge(self._workshop, key, self._settings.metric)
        try:
            self._state.scored(planned.key, built, self._judge.judge(key))
        except DeploykitError as error:
            self._state.failed(planned.key, error, "accuracy")

    def _evaluation_unit(self, planned: Planned) -> tuple[str, str, str]:
        target = planned.candidate.target
        return (planned.steps[-1] if planned.steps else "", target.runtime, target.device)

    def _reporter(self, words: str) -> Any:
        def report(done: float, total: float, what: str) -> None:
            share = f" · {done:.0f} of {total:.0f} {what}" if total else f" · {what}"
            self._state.say(self._state.progress.phase, words + share)

        return report

    # -- latency ----------------------------------------------------------------------------------------------------

    def _ready(self, candidates: list[Planned]) -> list[Ready]:
        originals = {
            (c.candidate.target.runtime, c.candidate.target.device): c
            for c in self._plan.candidates
            if not c.candidate.recipe.steps
        }
        found = []
        for planned in candidates:
            row = self._state.row(planned.key)
            if row.status == "failed" or row.measurement is None:
                continue
            target = planned.candidate.target
            original = originals.get((target.runtime, target.device))
            found.append(Ready(planned, self._artifact(planned), self._artifact(original) if original else None))
        return found

    def _artifact(self, planned: Planned) -> Built:
        return self._built[planned.steps[-1] if planned.steps else "given"]

    def _time(self, candidates: list[Planned], baseline: Planned) -> None:
        timer = Timer(
            self._running,
            self._workshop.data_folder,
            self._store.path / "logs",
            self._settings.protocol.rounds,
            self._settings.seed,
            memory_bytes=self._settings.limits.memory_bytes,
        )
        base = self._ready([baseline])[0]
        stage = TimingStage(self._workshop, self._state, timer, self._settings.protocol, base)
        stage.run(self._ready(candidates), self._pause)

    def _refine(self, baseline: Planned) -> None:
        """The second round: the best candidates with other numbers of threads."""
        refine = self._plan.refine
        if not refine.top:
            return
        best = self._best(refine.top)
        extra = []
        for planned in best:
            for threads in refine.threads:
                target = replace(planned.candidate.target, threads=threads)
                if target != planned.candidate.target and not useless_threads(threads):
                    extra.append(replace(planned, candidate=Candidate(planned.candidate.recipe, target)))
        known = {c.key for c in self._plan.candidates}
        extra = [c for c in extra if c.key not in known]
        for place, planned in enumerate(extra, len(self._plan.candidates)):
            self._state.add(planned, place)
        self._build_and_evaluate(extra)
        self._time(extra, baseline)

    def _best(self, top: int) -> list[Planned]:
        def order(planned: Planned) -> tuple[bool, float]:
            measurement = self._state.row(planned.key).measurement
            assert measurement is not None
            assert measurement.latency is not None
            return (measurement.score.drop.high > _REFINE_DROP, -measurement.latency.speedup.value)

        measured = [c for c in self._plan.candidates if self._state.row(c.key).status == "measured"]
        distinct = [c for c in measured if not self._state.row(c.key).same_as]
        return sorted(distinct, key=order)[:top]

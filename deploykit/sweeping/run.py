"""Running a sweep: build, evaluate, time, refine; resumable at every point."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deploykit.core.candidate import Candidate
from deploykit.core.dataset import Dataset
from deploykit.core.digest import json_digest
from deploykit.core.errors import Cancelled, CandidateError, DeploykitError, SettingError
from deploykit.core.events import OnProgress, Progress
from deploykit.core.model import Model
from deploykit.core.space import Space
from deploykit.core.store import Store
from deploykit.engines._contract import Running, start
from deploykit.measuring.latency import Timer
from deploykit.metrics._choose import Custom, MetricLike
from deploykit.metrics._contract import METRICS
from deploykit.reporting.progress import automatic
from deploykit.reporting.report import Report
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sweeping.building import Built, Limits, Workshop
from deploykit.sweeping.plan import Plan, Planned, make
from deploykit.sweeping.routes import BuildStep
from deploykit.sweeping.scoring import Judge
from deploykit.sweeping.state import State, facts
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


class SweepHandle:
    """A sweep that runs in the background.

    Attributes:
        plan: What it runs.
    """

    def __init__(
        self,
        model: Model,
        data: Dataset,
        space: Space,
        store: Store,
        settings: Settings,
        on_progress: OnProgress | None,
    ) -> None:
        self._settings = settings
        self._model = model
        self._data = data
        self._store = store
        self._cancel = threading.Event()
        self._resume = threading.Event()
        self._resume.set()
        self._error: BaseException | None = None
        self.plan: Plan = make(model, data, space, settings.seed)
        metric = settings.metric
        identity = Custom(metric).identity() if callable(metric) else metric
        self._context = json_digest([model.digest, data.digest, identity])
        self._state = State(store, self._context, on_progress)
        self._thread = threading.Thread(target=self._main, name="deploykit-sweep", daemon=True)

    # -- for the user -----------------------------------------------------------------------------------------------

    @property
    def report(self) -> Report:
        """The report so far."""
        return Report.open(self._store.path, context=self._context)

    @property
    def progress(self) -> Progress:
        """What it does now and what is left."""
        return self._state.progress

    @property
    def running(self) -> bool:
        """Whether it still works."""
        return self._thread.is_alive()

    def pause(self) -> None:
        """Start nothing new until `resume`; what runs is finished."""
        self._resume.clear()
        self._state.say(self._state.progress.phase, "paused")

    def resume(self) -> None:
        """Go on after `pause`."""
        self._resume.set()

    def cancel(self) -> None:
        """Stop now; everything finished is kept."""
        self._cancel.set()
        self._resume.set()

    def wait(self, timeout_s: float | None = None) -> Report:
        """Wait for the end and return the report.

        Raises:
            DeploykitError: What ended the sweep early, unless it was `cancel`.
        """
        self._thread.join(timeout_s)
        if self._error is not None:
            raise self._error
        return self.report

    # -- the work ---------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start the thread."""
        self._thread.start()

    def _main(self) -> None:
        try:
            with self._store.writer(), start(self._settings.engine, self._cancel) as running:
                _Sweep(self, running).run()
            counts = facts(self._state.rows)
            self._state.say("done", f"{counts['measured']} measured, {counts['failed']} failed")
        except Cancelled:
            self._state.say("cancelled", "cancelled; finished work is kept")
        except BaseException as error:  # carried to the thread that waits
            self._error = error
            with contextlib.suppress(Exception):
                self._state.say("cancelled", f"stopped: {error}")


class _Sweep:
    """One run of a sweep, in its own thread."""

    def __init__(self, handle: SweepHandle, running: Running) -> None:
        self._plan = handle.plan
        self._state = handle._state
        self._store = handle._store
        self._settings = handle._settings
        self._model = handle._model
        self._cancel = handle._cancel
        self._resume = handle._resume
        self._running = running
        self._context = handle._context
        self._data = handle._data
        self._workshop = Workshop(
            handle._store, running, handle._model, handle._data, self._settings.seed, self._settings.limits
        )
        self._built: dict[str, Built] = {}
        self._broken: dict[str, tuple[DeploykitError, str]] = {}
        self._judge: Judge | None = None

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
            self._running.supervisor.warm(group)
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

    def _groups(self) -> list[Any]:
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
        started: set[str] = set()
        while waiting or flying:
            self._pause()
            for planned in list(waiting):
                if len(flying) >= self._running.slots + 1:
                    break
                if self._advance(planned, flying, started):
                    waiting.remove(planned)
            finished, _ = wait(flying, timeout=0.2, return_when=FIRST_COMPLETED)
            for future in finished:
                kind, subject, began = flying.pop(future)
                self._finish(kind, subject, future, time.monotonic() - began)

    def _advance(self, planned: Planned, flying: dict[Future[Any], tuple[str, Any, float]], started: set[str]) -> bool:
        """Start the candidate's next piece of work if it can start; True when nothing is left to do for it."""
        built = self._source(planned, flying, started)
        if built is None:
            return self._state.row(planned.key).status == "failed"
        key = self._workshop.evaluation_key(built, planned.candidate.target)
        record = self._workshop.evaluated(key)
        if record is None:
            if key not in started and len(flying) < self._running.slots + 1:
                started.add(key)
                doing = f"evaluating {planned.label} on {planned.candidate.target.runtime}"
                future = self._workshop.start_evaluation(
                    built, planned.format, planned.candidate.target, self._output_names(), self._reporter(doing)
                )
                flying[future] = ("evaluation", (key, doing), time.monotonic())
            return False
        if key not in started:
            started.add(key)
            self._state.finish("evaluation", None)
        self._score(planned, built, key, record)
        return True

    def _source(
        self, planned: Planned, flying: dict[Future[Any], tuple[str, Any, float]], started: set[str]
    ) -> Built | None:
        """The candidate's artifact, None while it is being built or when it cannot be."""
        source: Built | None = None
        for key in ("", *planned.steps):
            step = self._plan.steps[key] if key else None
            identity = key or "given"
            if identity not in self._built and identity not in self._broken:
                self._begin_step(step, identity, source, flying, started)
            if identity in self._broken:
                self._state.failed(planned.key, *self._broken[identity])
                return None
            if identity not in self._built:
                return None
            source = self._built[identity]
        if source is not None:
            self._state.built(planned.key, source)
        return source

    def _begin_step(
        self, step: BuildStep | None, identity: str, source: Built | None,
        flying: dict[Future[Any], tuple[str, Any, float]], started: set[str],
    ) -> None:  # fmt: skip
        if identity in started:
            return
        found = self._workshop.built(step)
        if found is not None:
            started.add(identity)
            self._keep_step(step, found)
            self._state.finish("step", None)
        elif len(flying) < self._running.slots + 1:
            started.add(identity)
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
            self._workshop.finish_evaluation(key, future)
            phase = "accuracy"
        self._state.finish(kind, seconds)
        self._state.say(phase, doing)  # type: ignore[arg-type]  # both are phases

    def _score(self, planned: Planned, built: Built, key: str, record: dict[str, Any] | DeploykitError) -> None:
        if isinstance(record, DeploykitError):
            self._state.failed(planned.key, record, "accuracy")
            return
        if self._judge is None:  # the first candidate is the baseline
            self._baseline_outputs = record["outputs"]
            self._judge = Judge(self._workshop, key, self._settings.metric)
        try:
            self._state.scored(planned.key, built, self._judge.judge(key))
        except DeploykitError as error:
            self._state.failed(planned.key, error, "accuracy")

    def _output_names(self) -> list[str]:
        return self._baseline_outputs if self._judge is not None else []

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
        self._running.supervisor.drain()
        timer = Timer(
            self._running.supervisor,
            self._workshop.data_folder,
            self._settings.protocol.rounds,
            self._settings.seed,
            memory_bytes=self._settings.limits.memory_bytes,
            log_dir=self._store.path / "logs",
            cancel=self._cancel,
        )
        base = self._ready([baseline])[0]
        stage = TimingStage(self._workshop, self._state, timer, self._settings.protocol, base, self._model)
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
        self._state.expect("evaluation", len(extra))
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


def start_sweep(
    model: Model,
    data: Any,
    space: Space | str = "quick",
    *,
    store: str | Path = "runs",
    metric: MetricLike = "auto",
    engine: str = "local",
    seed: int = 0,
    timeout: float = 600.0,
    memory: float = 0.0,
    launches: int = 10,
    progress: OnProgress | None = None,
) -> SweepHandle:
    """Start a sweep in the background and return at once; see `sweep` for the arguments.

    Args:
        model: From ``dk.load``.
        data: A Dataset or a pair (x, y).
        space: A space or the name of a preset.
        store: Folder that keeps everything; a second sweep on it does only what is new.
        metric: See `sweep`.
        engine: See `sweep`.
        seed: See `sweep`.
        timeout: See `sweep`.
        memory: See `sweep`.
        launches: See `sweep`.
        progress: Called on every change, from another thread.

    Returns:
        A handle with ``report``, ``progress``, ``pause()``, ``resume()``, ``cancel()`` and ``wait()``.

    Raises:
        DatasetError: The data do not fit the model.
        SettingError: An unknown or bad setting.
        StoreError: The store cannot be used.
    """
    if launches < 2:
        raise SettingError(f"launches must be at least 2, got {launches}.", remedy="10 gives honest intervals.")
    if isinstance(metric, str) and metric != "auto":
        METRICS.get(metric)
    space = Space.preset(space) if isinstance(space, str) else space
    checked = Dataset.of(data).check(model)
    limits = Limits(timeout, int(memory * 1e9))
    settings = Settings(metric, engine, seed, limits, Protocol(launches))
    opened = Store(store, create=True)
    handle = SweepHandle(model, checked, space, opened, settings, progress)
    handle.begin()
    return handle


def sweep(
    model: Model,
    data: Any,
    space: Space | str = "quick",
    *,
    store: str | Path = "runs",
    metric: MetricLike = "auto",
    engine: str = "local",
    seed: int = 0,
    timeout: float = 600.0,
    memory: float = 0.0,
    launches: int = 10,
    progress: OnProgress | None = None,
) -> Report:
    """Build, evaluate and time every candidate of a space; resumes what an earlier sweep on the store has finished.

    Ctrl-C ends it and returns the report so far.

    Args:
        model: From ``dk.load``.
        data: A Dataset or a pair (x, y).
        space: A space or the name of a preset.
        store: Folder that keeps everything; a second sweep on it does only what is new.
        metric: Name of a metric, ``"auto"`` (accuracy for class labels, mean absolute error for real labels, agreement
            with the original when there are no labels), or a function of (outputs, labels) that gives one value for
            each example.
        engine: Where tasks run.
        seed: Seed of fine-tuning and of the timing order.
        timeout: Seconds after which one build step or evaluation is given up.
        memory: Gigabytes (10⁹ bytes) a child process may use; 0: the default.
        launches: How often each session is opened anew and timed; fewer are faster and give wider intervals.
        progress: Called on every change, from another thread; None: a bar in a terminal, lines elsewhere.

    Raises:
        DatasetError: The data do not fit the model.
        SettingError: An unknown or bad setting.
        StoreError: The store cannot be used.
        CandidateError: The model as given cannot be run: there is nothing to compare with.
    """
    with automatic(progress) as shown:
        handle = start_sweep(
            model, data, space, store=store, metric=metric, engine=engine, seed=seed, timeout=timeout, memory=memory,
            launches=launches, progress=shown,
        )  # fmt: skip
        try:
            while handle.running:
                handle.wait(0.2)
        except KeyboardInterrupt:
            handle.cancel()
        return handle.wait()

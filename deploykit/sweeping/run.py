"""Running a sweep: build, evaluate, time, refine; resumable at every point."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

from deploykit.core.dataset import Dataset
from deploykit.core.digest import json_digest
from deploykit.core.errors import Cancelled, SettingError
from deploykit.core.events import OnProgress, Progress
from deploykit.core.model import Model
from deploykit.core.space import Space
from deploykit.core.store import Store
from deploykit.engines._contract import start
from deploykit.metrics._choose import Custom, MetricLike
from deploykit.metrics._contract import METRICS
from deploykit.reporting.progress import automatic
from deploykit.reporting.report import Report
from deploykit.sandbox.supervisor import shared, warm_groups
from deploykit.sweeping.building import Limits
from deploykit.sweeping.durations import Durations, Units
from deploykit.sweeping.plan import Plan, make
from deploykit.sweeping.search import check_search
from deploykit.sweeping.stages import Context, Settings, Stages
from deploykit.sweeping.state import State, facts
from deploykit.sweeping.timing import Protocol


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
        identity = Custom(settings.metric).identity() if callable(settings.metric) else settings.metric
        name = json_digest([model.digest, data.digest, identity])
        self.plan: Plan = make(model, data, space, settings.seed)
        self._cancel = threading.Event()
        self._resume = threading.Event()
        self._resume.set()
        # Not Thread.join: interrupted by Ctrl-C it takes a running thread for a finished one (Python 3.11, 3.12).
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._state = State(store, name, on_progress, Durations(Units(model, data)))
        self._context = Context(model, data, store, name, settings, self.plan, self._state, self._cancel, self._resume)
        self._thread = threading.Thread(target=self._main, name="deploykit-sweep", daemon=True)

    # -- for the user -----------------------------------------------------------------------------------------------

    @property
    def report(self) -> Report:
        """The report so far."""
        return Report.open(self._context.store.path, context=self._context.name)

    @property
    def progress(self) -> Progress:
        """What it does now and what is left."""
        return self._state.progress

    @property
    def running(self) -> bool:
        """Whether it still works."""
        return self._thread.ident is not None and not self._ended.is_set()

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

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for the end, or for some seconds."""
        self._ended.wait(timeout_s)

    def wait(self, timeout_s: float | None = None) -> Report:
        """Wait for the end and return the report.

        Raises:
            DeploykitError: What ended the sweep early, unless it was `cancel`.
        """
        self._ended.wait(timeout_s)
        if self._error is not None:
            raise self._error
        return self.report

    # -- the work ---------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start the thread."""
        self._thread.start()

    def _main(self) -> None:
        warm = warm_groups()
        try:
            engine = self._context.settings.engine
            with self._context.store.writer(), start(engine, self._cancel) as running:
                running.require({c.candidate.target.device for c in self.plan.candidates})
                Stages(self._context, running).run()
            counts = facts(self._state.rows)
            stopped = f", {counts['stopped']} stopped early" if counts["stopped"] else ""
            self._state.say("done", f"{counts['measured']} measured, {counts['failed']} failed{stopped}")
        except Cancelled:
            self._state.say("cancelled", "cancelled; finished work is kept")
        except BaseException as error:  # carried to the thread that waits
            self._error = error
            with contextlib.suppress(Exception):
                self._state.say("cancelled", f"stopped: {error}")
        finally:
            self._remember(warm)
            self._ended.set()

    def _remember(self, warm: frozenset[str]) -> None:
        """Keep how long this machine took; what other machines take says nothing of it."""
        if self._context.settings.engine != Settings.engine:
            return
        durations = self._state.durations
        for group, seconds in shared().start_seconds().items():
            if seconds and group not in warm:
                durations.note(durations.units.start(group), seconds)
        durations.save()


def start_sweep(
    model: Model,
    data: Any,
    space: Space | str | Path = "quick",
    *,
    store: str | Path = "runs",
    metric: MetricLike = "auto",
    engine: Any = "local",
    seed: int = 0,
    timeout: float = 600.0,
    memory: float = 0.0,
    launches: int = 10,
    max_drop: float | None = None,
    racing: bool = True,
    adaptive: bool = True,
    search: str = "grid",
    budget: float | str | None = None,
    progress: OnProgress | None = None,
) -> SweepHandle:
    """Start a sweep in the background and return at once; see `sweep` for the arguments.

    Args:
        model: From ``dk.load``.
        data: A Dataset or a pair (x, y).
        space: A space, the name of a preset, or the path of a saved space.
        store: Folder that keeps everything; a second sweep on it does only what is new.
        metric: See `sweep`.
        engine: See `sweep`.
        seed: See `sweep`.
        timeout: See `sweep`.
        memory: See `sweep`.
        launches: See `sweep`.
        max_drop: See `sweep`.
        racing: See `sweep`.
        adaptive: See `sweep`.
        search: See `sweep`.
        budget: See `sweep`.
        progress: Called on every change, from another thread.

    Returns:
        A handle with ``report``, ``progress``, ``pause()``, ``resume()``, ``cancel()`` and ``wait()``.

    Raises:
        DatasetError: The data do not fit the model.
        SettingError: An unknown or bad setting.
        StoreError: The store cannot be used.
    """
    if launches == 1 or launches < 0:
        raise SettingError(
            f"launches must be at least 2, or 0 for no latency, got {launches}.", remedy="10 gives honest intervals."
        )
    if isinstance(metric, str) and metric != "auto":
        METRICS.get(metric)
    spent = check_search(search, budget)
    space = Space.of(space)
    checked = Dataset.of(data).check(model)
    limits = Limits(timeout, int(memory * 1e9))
    protocol = Protocol(launches, adaptive=adaptive, max_drop=max_drop)
    settings = Settings(metric, engine, seed, limits, protocol, max_drop, racing, search, spent)
    opened = Store(store, create=True)
    handle = SweepHandle(model, checked, space, opened, settings, progress)
    handle.begin()
    return handle


def sweep(
    model: Model,
    data: Any,
    space: Space | str | Path = "quick",
    *,
    store: str | Path = "runs",
    metric: MetricLike = "auto",
    engine: Any = "local",
    seed: int = 0,
    timeout: float = 600.0,
    memory: float = 0.0,
    launches: int = 10,
    max_drop: float | None = None,
    racing: bool = True,
    adaptive: bool = True,
    search: str = "grid",
    budget: float | str | None = None,
    progress: OnProgress | None = None,
) -> Report:
    """Build, evaluate and time every candidate of a space; resumes what an earlier sweep on the store has finished.

    Ctrl-C ends it and returns the report so far.

    Args:
        model: From ``dk.load``.
        data: A Dataset or a pair (x, y).
        space: A space, the name of a preset, or the path of a saved space.
        store: Folder that keeps everything; a second sweep on it does only what is new.
        metric: Name of a metric, ``"auto"`` (accuracy for class labels, mean absolute error for real labels, agreement
            with the original when there are no labels), or a function of (outputs, labels) that gives one value for
            each example.
        engine: Where tasks run: ``"local"``, ``"dask://scheduler:8786"``, or a connected ``distributed.Client``.
        seed: Seed of fine-tuning and of the timing order.
        timeout: Seconds after which one build step or evaluation is given up.
        memory: Gigabytes (10⁹ bytes) a child process may use; 0: the default.
        launches: How often each session is opened anew and timed; fewer are faster and give wider intervals. 0: latency
            is not measured.
        max_drop: Loss above which no candidate is wanted, in the metric's units as in ``Report.best``. Candidates that
            surely lose more are stopped before all of the data were used, and are not timed. None: all are measured.
        racing: Whether ``max_drop`` may stop candidates early; without it they are evaluated on all of the data.
        adaptive: Whether candidates that after three launches are surely slower than another one, and by estimate no
            better, get no more launches: their rows say "screened". Without it all get all launches.
        search: ``"grid"``: every candidate of the space. ``"tpe"``, ``"nsga2"`` or ``"random"``: Optuna proposes
            candidates between the values the space gives, and learns from all rows the store holds.
        budget: What a search may cost: seconds, ``"10 min"`` or ``"40 candidates"`` (30 by default). Candidates the
            store knows already count; no batch of candidates begins after the time.
        progress: Called on every change, from another thread; None: a bar in a terminal, lines elsewhere.

    Raises:
        DatasetError: The data do not fit the model.
        SettingError: An unknown or bad setting.
        StoreError: The store cannot be used.
        EngineError: The engine's workers cannot be reached, do not fit, or were lost.
        CandidateError: The model as given cannot be run: there is nothing to compare with.
    """
    with automatic(progress) as shown:
        handle = start_sweep(
            model, data, space, store=store, metric=metric, engine=engine, seed=seed, timeout=timeout, memory=memory,
            launches=launches, max_drop=max_drop, racing=racing, adaptive=adaptive, search=search, budget=budget,
            progress=shown,
        )  # fmt: skip
        try:
            while handle.running:
                handle.join(0.2)
        except KeyboardInterrupt:
            handle.cancel()
        return handle.wait()

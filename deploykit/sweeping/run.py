"""Running a sweep: build, evaluate, time, refine; resumable at every point."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploykit.core.contract import Declared
from deploykit.core.errors import SettingError
from deploykit.core.model import Model
from deploykit.core.space import Space
from deploykit.data.dataset import Dataset
from deploykit.engines._contract import Running
from deploykit.metrics._choose import MetricLike, check_name
from deploykit.planning.durations import Durations, Units
from deploykit.planning.limits import Limits
from deploykit.planning.plan import Plan, make
from deploykit.planning.protocol import Protocol, check_drop
from deploykit.planning.routes import tools
from deploykit.reporting.events import OnProgress
from deploykit.reporting.progress import automatic
from deploykit.reporting.report import Report
from deploykit.storage.rows import Rows
from deploykit.storage.store import Store
from deploykit.sweeping.background import Background
from deploykit.sweeping.search import check_search
from deploykit.sweeping.stages import Context, Settings, Stages
from deploykit.sweeping.state import State, context_name, facts
from deploykit.transforms._checking import checked


class SweepHandle(Background):
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
        declared: Declared | None = None,
    ) -> None:
        declared = declared or Declared()
        name = context_name(model, data, settings.metric, declared)
        self.plan: Plan = make(model, data, space, settings.seed)
        state = State(store, name, on_progress, Durations(Units(model, data)))
        super().__init__(store, settings.engine, state, "deploykit-sweep")
        self._context = Context(
            model, data, store, name, settings, self.plan, state, self._cancel, self._resume, declared
        )

    @property
    def report(self) -> Report:
        """The report so far."""
        context = self._context
        found = context.store.sweep(context.name)
        if found is None:  # it has only just begun
            return Report(context.store.path, Rows.of(context.state.rows), context.facts(None))
        if self.running:  # panels ask several times a second
            return Report(context.store.path, context.state.as_stored(), found[1])
        return Report.open(context.store.path, context=context.name)

    def wait(self, timeout_s: float | None = None) -> Report:
        """Wait for the end and return the report.

        Raises:
            DeploykitError: What ended the sweep early, unless it was `cancel`.
        """
        self._check(timeout_s)
        return self.report

    def _work(self, running: Running) -> str:
        targets = [c.candidate.target for c in self.plan.candidates]
        running.require({t.device for t in targets}, tools(self.plan.steps.values(), {t.runtime for t in targets}))
        Stages(self._context, running).run()
        counts = facts(self._state.rows)
        stopped = f", {counts['stopped']} stopped early" if counts["stopped"] else ""
        return f"{counts['measured']} measured, {counts['failed']} failed{stopped}"


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
    sensitivity: bool = False,
    output: str | None = None,
    scores: str | None = None,
    state: Mapping[str, str] | None = None,
    constants: Mapping[str, Any] | None = None,
    progress: OnProgress | None = None,
) -> SweepHandle:
    """Start a sweep in the background and return at once; see `sweep` for the arguments.

    Args:
        model: From ``dk.load``.
        data: A Dataset or a pair (x, y).
        space: A space, the name of a preset, or the path of a saved space.
        store: Folder that keeps all results; a second sweep on it does only the new work.
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
        sensitivity: See `sweep`.
        output: See `sweep`.
        scores: See `sweep`.
        state: See `sweep`.
        constants: See `sweep`.
        progress: Called on every change, from another thread.

    Returns:
        A handle with ``report``, ``progress``, ``pause()``, ``resume()``, ``cancel()`` and ``wait()``.

    Raises:
        DatasetError: The data do not fit the model.
        SettingError: An unknown or bad setting.
        StoreError: The store cannot be used.

    Example:
        >>> space = dk.Space([dk.Recipe((dk.Step("quantize_dynamic"),))], [dk.Target("onnxruntime")])
        >>> handle = dk.start_sweep(model, data, space, store="runs/background", launches=0)
        >>> handle.wait().finished
        True
    """
    if launches == 1 or launches < 0:
        raise SettingError(
            f"launches must be at least 2, or 0 to skip latency, got {launches}.", remedy="10 gives honest intervals."
        )
    check_drop(max_drop)
    check_name(metric)
    spent = check_search(search, budget)
    space = Space.of(space)
    declared = Declared.of(output, scores, state, constants)
    prepared = checked(model, data, declared)
    limits = Limits(timeout, int(memory * 1e9))
    protocol = Protocol(launches, adaptive=adaptive, max_drop=max_drop)
    settings = Settings(metric, engine, seed, limits, protocol, max_drop, racing, search, spent, sensitivity)
    opened = Store(store, create=True)
    handle = SweepHandle(model, prepared, space, opened, settings, progress, declared)
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
    sensitivity: bool = False,
    output: str | None = None,
    scores: str | None = None,
    state: Mapping[str, str] | None = None,
    constants: Mapping[str, Any] | None = None,
    progress: OnProgress | None = None,
) -> Report:
    """Build, evaluate and time every candidate of a space, reusing what earlier sweeps on the store have finished.

    Ctrl-C ends it and returns the report so far.

    Args:
        model: From ``dk.load``.
        data: A Dataset or a pair (x, y).
        space: A space, the name of a preset, or the path of a saved space.
        store: Folder that keeps all results; a second sweep on it does only the new work.
        metric: Name of a metric, ``"auto"`` (accuracy for class labels, mean absolute error for real labels, agreement
            with the original when there are no labels), or a function of (outputs, labels) that gives one value for
            each example.
        engine: Where tasks run: ``"local"``, ``"dask://scheduler:8786"``, or a connected ``distributed.Client``.
        seed: Seed of fine-tuning and of the timing order.
        timeout: Seconds after which a build step or evaluation is stopped.
        memory: Gigabytes (10⁹ bytes) a child process may use; 0: the default.
        launches: Timing launches per session; fewer are faster and give wider intervals. 0 skips latency.
        max_drop: Largest acceptable loss, in the metric's units as in ``Report.best``. Candidates that are confirmed to
            lose more are stopped before all of the data have been used, and are not timed. None: all are measured.
        racing: Whether ``max_drop`` may stop candidates early; if False, they are evaluated on all of the data.
        adaptive: Whether candidates that are confirmed, after three launches, to be slower than another one and by
            estimate no better get no further launches (flag "screened"). If False, all candidates get all launches.
        search: ``"grid"``: every candidate of the space. ``"tpe"``, ``"nsga2"`` or ``"random"``: Optuna proposes
            candidates within the values of the space, and learns from all rows in the store.
        budget: Limit of a search: seconds, ``"10 min"`` or ``"40 candidates"`` (30 by default). Candidates that are
            already in the store count; no batch of candidates starts after the time is up. The original model and a
            second round (``space.refine``) are not included.
        sensitivity: Whether, after the first candidates, each technique that can leave layers out is applied to one
            layer and one type of operators at a time and to all but one (see `deploykit.sensitivity`), and the
            most promising exclusions also become candidates.
        output: Name of the output to score; None: the first one that the labels fit. Every other output is compared
            with the original's.
        scores: What the scored output holds: ``"scores"``, ``"probabilities"``, ``"logit"``, ``"probability"``,
            ``"several"`` (labels at once), ``"classes"``, ``"values"`` or ``"embedding"``; None: decided by
            operators, shapes, ranges and names.
        state: Output → input that it feeds at the next step, for models that keep a state. Examples with one axis more
            than the model takes are sequences of steps; other examples each start with fresh state.
        constants: Input → the value it always gets, for example ``{"sr": 16000}``.
        progress: Called on every change, from another thread; None: a bar in a terminal, lines elsewhere.

    Raises:
        DatasetError: The data do not fit the model.
        SettingError: An unknown or bad setting.
        StoreError: The store cannot be used.
        EngineError: The engine's workers cannot be reached, do not fit, or were lost.
        CandidateError: The original model cannot be run, so there is nothing to compare with.

    Example:
        >>> space = dk.Space([dk.Recipe((dk.Step("quantize_dynamic"),))], [dk.Target("onnxruntime")])
        >>> report = dk.sweep(model, data, space, store="runs/sweep", launches=0)
        [...
        >>> [row.status for row in report.rows]
        ['measured', 'measured']
    """
    with automatic(progress) as shown:
        handle = start_sweep(
            model, data, space, store=store, metric=metric, engine=engine, seed=seed, timeout=timeout, memory=memory,
            launches=launches, max_drop=max_drop, racing=racing, adaptive=adaptive, search=search, budget=budget,
            sensitivity=sensitivity, output=output, scores=scores, state=state, constants=constants, progress=shown,
        )  # fmt: skip
        handle.watch()
        return handle.wait()

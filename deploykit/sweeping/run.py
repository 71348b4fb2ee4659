"""Running a sweep: build, evaluate, time, refine; resumable at every point."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Unpack

from deploykit.core import extras
from deploykit.core.model import Model
from deploykit.core.settings.option import takes
from deploykit.core.settings.options import SweepOptions
from deploykit.core.space import Space
from deploykit.data.dataset import Dataset
from deploykit.engines._contract import Running
from deploykit.measuring.devices import check_devices
from deploykit.planning.durations import Durations, Units
from deploykit.planning.joining import join
from deploykit.planning.plan import Plan
from deploykit.planning.planner import make
from deploykit.planning.routes import Routes
from deploykit.planning.settings import Settings
from deploykit.planning.steps import tools
from deploykit.reporting.events import OnProgress
from deploykit.reporting.progress import automatic
from deploykit.reporting.report import Report
from deploykit.storage.rows import Rows
from deploykit.storage.store import Store
from deploykit.sweeping import given_files
from deploykit.sweeping.background import LOCAL, Background
from deploykit.sweeping.stages import Context, Stages
from deploykit.sweeping.state import State, context_name, facts
from deploykit.transforms._checking import checked


class SweepHandle(Background):
    """A sweep that runs in the background.

    Attributes:
        plan: What it runs.

    Example:
        >>> space = dk.Space([dk.Recipe((dk.Step("quantize_dynamic"),))], [dk.Target("onnxruntime")])
        >>> handle = dk.start_sweep(model, data, space, store="runs/handled", launches=0)
        >>> len(handle.plan.candidates), handle.wait().finished
        (2, True)
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
        options, declared = settings.options, settings.declared
        name = context_name(model, data, options["metric"], declared)
        routes = Routes(model, data, options["seed"], compiling=options["engine"] == LOCAL)
        self.plan: Plan = make(routes, space)
        if options["engine"] == LOCAL:
            check_devices(c.candidate.target for c in self.plan.candidates)
        state = State(store, name, on_progress, Durations(Units(model, data)))
        super().__init__(store, options["engine"], state, "deploykit-sweep")
        self._context = Context(
            model, data, store, name, settings, routes, self.plan, state, self._cancel, self._resume, declared
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
            DeploykitError: What ended the sweep early, unless it was ``cancel``.
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


@takes(SweepOptions)
def start_sweep(
    model: Model,
    data: Any,
    space: Space | str | Path = "quick",
    *,
    store: str | Path = "runs",
    progress: OnProgress | None = None,
    candidates: Iterable[Model | str | Path] = (),
    **options: Unpack[SweepOptions],
) -> SweepHandle:
    """Start a sweep in the background and return at once; see `sweep` for the arguments.

    Args:
        model: From ``dk.load``.
        data: A Dataset or a pair (x, y).
        space: A space, the name of a preset, or the path of a saved space.
        store: Folder that keeps all results; a second sweep on it does only the new work.
        progress: Called on every change, from another thread.
        candidates: Files that exist already, see `sweep`.
        **options: Those of `sweep`.

    Returns:
        A handle with ``report``, ``progress``, ``pause()``, ``resume()``, ``cancel()`` and ``wait()``.

    Raises:
        DatasetError: The data do not fit the model.
        SettingError: An unknown or bad setting.
        ModelFileError: A candidate's file is missing or damaged.
        UnsupportedModelError: A candidate's file has another signature than the model.
        StoreError: The store cannot be used.
        DeviceError: A target's device is not ready on this machine.

    Example:
        >>> space = dk.Space([dk.Recipe((dk.Step("quantize_dynamic"),))], [dk.Target("onnxruntime")])
        >>> handle = dk.start_sweep(model, data, space, store="runs/background", launches=0)
        >>> handle.wait().finished
        True
    """
    extras.check("sweep")
    settings = Settings.of(options)
    space = Space.of(space)
    prepared = checked(model, data, settings.declared)
    joined = join(space, model, prepared, candidates)
    opened = Store(store, create=True)
    handle = SweepHandle(model, prepared, joined.space, opened, settings, progress)
    given_files.keep(opened, joined.files, handle.plan.steps.values())
    handle.begin()
    return handle


@takes(SweepOptions)
def sweep(
    model: Model,
    data: Any,
    space: Space | str | Path = "quick",
    *,
    store: str | Path = "runs",
    progress: OnProgress | None = None,
    candidates: Iterable[Model | str | Path] = (),
    **options: Unpack[SweepOptions],
) -> Report:
    """Build, evaluate and time every candidate of a space, reusing what earlier sweeps on the store have finished.

    Ctrl-C ends it and returns the report so far.

    Args:
        model: From ``dk.load``.
        data: A Dataset or a pair (x, y).
        space: A space, the name of a preset, or the path of a saved space.
        store: Folder that keeps all results; a second sweep on it does only the new work.
        progress: Called on every change, from another thread; None: a bar in a terminal, lines elsewhere.
        candidates: Optimized files that exist already, made with any tool: paths, or what ``dk.load`` has read. Each is
            judged like the candidates of the space. The store keeps a copy.
        **options: How the sweep runs.

    Raises:
        DatasetError: The data do not fit the model.
        SettingError: An unknown or bad setting.
        ModelFileError: A candidate's file is missing or damaged.
        UnsupportedModelError: A candidate's file has another signature than the model.
        StoreError: The store cannot be used.
        DeviceError: A target's device is not ready on this machine.
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
        handle = start_sweep(model, data, space, store=store, progress=shown, candidates=candidates, **options)
        handle.watch()
        return handle.wait()

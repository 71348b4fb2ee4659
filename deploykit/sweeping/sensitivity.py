"""Measuring which layers and types of operators a technique harms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

from deploykit.core import extras
from deploykit.core.candidate import Target
from deploykit.core.errors import CandidateError, SettingError, unknown_name
from deploykit.core.model import Model
from deploykit.core.parameter import Value
from deploykit.core.settings.option import complete, takes
from deploykit.core.settings.options import SensitivityOptions
from deploykit.data.dataset import Dataset
from deploykit.engines._contract import Running
from deploykit.planning.durations import Durations, Units
from deploykit.planning.limits import Limits
from deploykit.planning.routes import Routes
from deploykit.planning.settings import declared_of
from deploykit.reporting.events import OnProgress
from deploykit.reporting.evidence.sensitivity import LIMIT, Sensitivity
from deploykit.reporting.progress import automatic
from deploykit.runtimes._contract import RUNTIMES
from deploykit.storage.store import Store
from deploykit.sweeping.background import LOCAL, Background, wait_turn
from deploykit.sweeping.layerwise import RECORD, Pass
from deploykit.sweeping.questions import KINDS, Question, pass_name, target_for
from deploykit.sweeping.state import State, context_name
from deploykit.sweeping.workshop import Workshop
from deploykit.transforms._checking import checked


class SensitivityHandle(Background):
    """A pass that runs in the background.

    Example:
        >>> handle = dk.start_sensitivity(model, data, "quantize_static", by=("type",), store="runs/types")
        >>> handle.wait().rows == handle.result.rows
        True
    """

    def __init__(
        self,
        model: Model,
        data: Dataset,
        routes: Routes,
        question: Question,
        store: Store,
        options: SensitivityOptions,
        on_progress: OnProgress | None,
    ) -> None:
        metric, seed, declared = options["metric"], options["seed"], declared_of(options)
        name = pass_name(context_name(model, data, metric, declared), question, seed)
        state = State(store, name, on_progress, Durations(Units(model, data)))
        super().__init__(store, options["engine"], state, "deploykit-sensitivity")
        self._arguments = (model, data, question, metric, seed, Limits.of(options))
        self._declared = declared
        self._routes = routes

    @property
    def result(self) -> Sensitivity | None:
        """What the store holds; None before the first rows."""
        record = self._store.record(RECORD, self._arguments[2].record(self._state.context))
        return Sensitivity.from_json(record) if record else None

    def wait(self, timeout_s: float | None = None) -> Sensitivity:
        """Wait for the end and return what was found, after ``cancel`` as far as it went.

        Raises:
            DeploykitError: What ended the pass early.
        """
        self._check(timeout_s)
        found = self.result
        if found is None:
            raise CandidateError(
                "The pass ended before anything was measured.", remedy="rerun the same call to resume."
            )
        return found

    def _work(self, running: Running) -> str:
        model, data, question, metric, seed, limits = self._arguments
        self._state.slots = running.slots
        running.require({question.target.device})
        workshop = Workshop(self._store, running, model, data, seed, limits, self._declared)
        found = Pass(question, self._routes, workshop, running, self._state, metric).run(
            lambda: wait_turn(self._cancel, self._resume)
        )
        return f"{len(found.rows)} layers and types measured"


@takes(SensitivityOptions)
def start_sensitivity(
    model: Model,
    data: Any,
    technique: str = "quantize_static",
    *,
    parameters: dict[str, Value] | None = None,
    runtime: str | None = None,
    store: str | Path = "runs",
    by: Sequence[str] = KINDS,
    limit: int = LIMIT,
    progress: OnProgress | None = None,
    **options: Unpack[SensitivityOptions],
) -> SensitivityHandle:
    """Start a pass in the background and return at once; see `sensitivity` for the arguments.

    Args:
        model: From ``dk.load``.
        data: A Dataset or a pair (x, y).
        technique: See `sensitivity`.
        parameters: See `sensitivity`.
        runtime: See `sensitivity`.
        store: See `sensitivity`.
        by: See `sensitivity`.
        limit: See `sensitivity`.
        progress: Called on every change, from another thread.
        **options: Those of ``dk.sweep`` that matter for the evaluation.

    Returns:
        A handle with ``result``, ``progress``, ``pause()``, ``resume()``, ``cancel()`` and ``wait()``.

    Raises:
        DatasetError: The data do not fit the model.
        SettingError: An unknown or bad setting, or a technique that cannot leave layers out.
        StoreError: The store cannot be used.

    Example:
        >>> handle = dk.start_sensitivity(model, data, "quantize_static", by=("type",), store="runs/types")
        >>> len(handle.wait().rows)
        3
    """
    extras.check("sweep")
    kinds = (by,) if isinstance(by, str) else tuple(by)
    for kind in kinds:
        if kind not in KINDS:
            raise unknown_name("kind of row", kind, KINDS)
    if not kinds or limit < 1:
        raise SettingError(
            f"by must name at least one of {', '.join(KINDS)}, and limit must be at least 1, got {kinds} and {limit}."
        )
    settings = complete(SensitivityOptions, options)
    prepared = checked(model, data, declared_of(settings))
    given = dict(parameters or {})
    names = [runtime] if runtime else [r.name for r in RUNTIMES.all() if r.default and not r.missing()]
    routes = Routes(model, prepared, settings["seed"], compiling=settings["engine"] == LOCAL)
    target = target_for(routes, technique, given, [Target(name) for name in names])
    question = Question(technique, given, target, kinds, limit)
    opened = Store(store, create=True)
    handle = SensitivityHandle(model, prepared, routes, question, opened, settings, progress)
    handle.begin()
    return handle


@takes(SensitivityOptions)
def sensitivity(
    model: Model,
    data: Any,
    technique: str = "quantize_static",
    *,
    parameters: dict[str, Value] | None = None,
    runtime: str | None = None,
    store: str | Path = "runs",
    by: Sequence[str] = KINDS,
    limit: int = LIMIT,
    progress: OnProgress | None = None,
    **options: Unpack[SensitivityOptions],
) -> Sensitivity:
    """Measure which layers and operator types a technique harms.

    The technique is applied to one layer (then one operator type) at a time, and to all but that one. Each time, two
    losses are measured: of the metric, and of the fidelity to the original's outputs, which shows much smaller effects
    than accuracy. Latency is not measured. Graph preparation and calibration run once. Ctrl-C returns the results so
    far; the same call resumes from there. To try the suggestions:
    ``dk.sweep(model, data, dk.Space(found.recipes()), store=store)``.

    Args:
        model: From ``dk.load``.
        data: A Dataset or a pair (x, y).
        technique: A technique that can leave layers out, with a parameter ``exclude``. Pruning is done in one shot,
            without fine-tuning.
        parameters: Its parameters; missing ones have their defaults.
        runtime: Runtime to evaluate on; None: the first on which the technique can leave layers out.
        store: Folder that keeps all results.
        by: ``"layer"``, ``"type"`` or both.
        limit: Number of layers to measure one by one, starting with those with the most weights; the others share one
            row. As long as these do more than 5 % of the harm, that many more are measured one by one.
        progress: Called on every change, from another thread; None: a bar in a terminal, lines elsewhere.
        **options: Those of ``dk.sweep`` that matter for the evaluation.

    Raises:
        DatasetError: The data do not fit the model.
        SettingError: An unknown or bad setting, or a technique that cannot leave layers out.
        StoreError: The store cannot be used.
        CandidateError: The original model cannot be run, or cannot be run with the technique applied to all of it.

    Example:
        >>> found = dk.sensitivity(model, data, "quantize_static", by=("type",), store="runs/types")
        [...
        >>> [step.technique for recipe in found.recipes(top=1) for step in recipe.steps]
        ['quantize_static']
    """
    with automatic(progress) as shown:
        handle = start_sensitivity(
            model, data, technique, parameters=parameters, runtime=runtime, store=store, by=by, limit=limit,
            progress=shown, **options,
        )  # fmt: skip
        handle.watch()
        return handle.wait()

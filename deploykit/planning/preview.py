"""The plan of a sweep with what it will take, from recorded facts and without importing a framework."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from deploykit.core import extras
from deploykit.core.check import Examined
from deploykit.core.model import Model
from deploykit.core.resolution import half_width
from deploykit.core.settings.option import changed, takes
from deploykit.core.settings.options import SweepOptions
from deploykit.core.space import Space
from deploykit.data.dataset import Dataset
from deploykit.engines.local import ADAPTER as HERE
from deploykit.engines.local import slots
from deploykit.measuring.devices import check_devices
from deploykit.planning.durations import Units
from deploykit.planning.examination import examined
from deploykit.planning.expected import expect
from deploykit.planning.history import History
from deploykit.planning.joining import join
from deploykit.planning.known import Known, opened
from deploykit.planning.plan import Plan
from deploykit.planning.planner import make
from deploykit.planning.routes import Routes
from deploykit.planning.settings import Settings
from deploykit.sandbox.supervisor import warm_groups
from deploykit.transforms._checking import checked


@takes(SweepOptions)
def plan(
    model: Model,
    data: Any,
    space: Space | str | Path = "quick",
    *,
    store: str | Path | None = None,
    check: bool = True,
    candidates: Iterable[Model | str | Path] = (),
    **options: Unpack[SweepOptions],
) -> Plan:
    """What a sweep of ``space`` would run, what it cannot run and why, how long it will take, and what it can confirm.

    Args:
        model: From ``dk.load``.
        data: A Dataset or a pair (x, y).
        space: A space, the name of a preset, or the path of a saved space.
        store: Folder of earlier sweeps; the estimate leaves out the work that is finished there.
        check: Whether to run the original model on up to 200 examples, to find out what its outputs are and whether it
            does its job on the data as they are read. This takes seconds, once per model and data in a process.
        candidates: Files that exist already, see ``dk.sweep``.
        **options: Those of ``dk.sweep``; ``timeout`` and ``memory`` also limit the check.

    Raises:
        SettingError: The space names an unknown technique, runtime or parameter, or a bad value.
        DatasetError: The data do not fit the model.
        ModelFileError: A candidate's file is missing or damaged.
        UnsupportedModelError: A candidate's file has another signature than the model.
        StoreError: The store cannot be read.
        DeviceError: A target's device is not ready on this machine; not without ``check``.

    Example:
        >>> plan = dk.plan(model, data, "quick", max_drop=0.01)
        >>> len(plan.candidates) > 3, plan.can_resolve
        (True, True)
    """
    extras.check("sweep")
    settings = Settings.of(options)
    declared, protocol = settings.declared, settings.protocol
    data = checked(model, data, declared)
    joined = join(Space.of(space), model, data, candidates)
    found = make(Routes(model, data, settings.options["seed"]), joined.space)
    if check and settings.options["engine"] == HERE.name:
        check_devices(c.candidate.target for c in found.candidates)
    seen = examined(model, data, declared, settings.limits) if check else Examined(data.checked)
    opened_store = opened(store) if store is not None else None
    with opened_store or nullcontext():
        known = Known(opened_store, model, data, protocol, settings.stops_above, declared) if opened_store else None
        size = 0 if known and known.has_data else _data_bytes(data)
        expected = expect(
            found, Units(model, data), History(), protocol, known=known, slots=slots(), warm=warm_groups(),
            new_data_bytes=size,
        )  # fmt: skip
        flips = known.flips if known else None
    found = replace(
        found,
        expected=expected,
        max_drop=settings.options["max_drop"],
        options=changed(SweepOptions, settings.options),
        examined=seen,
    )
    if flips is None or not found.resolves:
        return found
    count = found.evaluation_groups or found.evaluation_examples
    flips = max(flips, 1 / count)
    resolves = half_width(flips, count)
    return replace(found, resolves=resolves, flips=flips, flips_measured=True)


def _data_bytes(data: Dataset) -> int:
    arrays = [array for split in data.splits.values() for array in split.inputs.values()]
    return sum(int(getattr(array, "nbytes", 0)) for array in arrays)

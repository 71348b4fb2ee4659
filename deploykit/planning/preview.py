"""The plan of a sweep with what it will take, from recorded facts and without importing a framework."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploykit.core.check import Examined
from deploykit.core.contract import Declared
from deploykit.core.model import Model
from deploykit.core.resolution import half_width
from deploykit.core.space import Space
from deploykit.data.dataset import Dataset
from deploykit.engines.local import slots
from deploykit.planning.durations import Units
from deploykit.planning.examination import examined
from deploykit.planning.expected import expect
from deploykit.planning.history import History
from deploykit.planning.known import Known, opened
from deploykit.planning.plan import Plan, make
from deploykit.planning.protocol import Protocol, check_drop
from deploykit.sandbox.supervisor import warm_groups
from deploykit.transforms._checking import checked


def plan(
    model: Model,
    data: Any,
    space: Space | str | Path = "quick",
    *,
    store: str | Path | None = None,
    launches: int = 10,
    max_drop: float | None = None,
    adaptive: bool = True,
    seed: int = 0,
    output: str | None = None,
    scores: str | None = None,
    state: Mapping[str, str] | None = None,
    constants: Mapping[str, Any] | None = None,
    check: bool = True,
    timeout: float = 600.0,
    memory: float = 0.0,
) -> Plan:
    """What a sweep of ``space`` would run, what it cannot run and why, how long it will take, and what it can confirm.

    Args:
        model: From ``dk.load``.
        data: A Dataset or a pair (x, y).
        space: A space, the name of a preset, or the path of a saved space.
        store: Folder of earlier sweeps; the estimate leaves out the work that is finished there.
        launches: As in ``dk.sweep``.
        max_drop: As in ``dk.sweep``; the plan says whether the evaluation examples can confirm it.
        adaptive: As in ``dk.sweep``.
        seed: Seed of the transforms.
        output: As in ``dk.sweep``.
        scores: As in ``dk.sweep``.
        state: As in ``dk.sweep``.
        constants: As in ``dk.sweep``.
        check: Whether to run the original model on up to 200 examples, to find out what its outputs are and whether it
            does its job on the data as they are read. This takes seconds, once per model and data in a process.
        timeout: Seconds after which the check is stopped.
        memory: Gigabytes the check may use; 0: 6.4.

    Raises:
        SettingError: The space names an unknown technique, runtime or parameter, or a bad value.
        DatasetError: The data do not fit the model.
        StoreError: The store cannot be read.

    Example:
        >>> plan = dk.plan(model, data, "quick", max_drop=0.01)
        >>> len(plan.candidates), plan.can_resolve
        (4, True)
    """
    check_drop(max_drop)
    declared = Declared.of(output, scores, state, constants)
    data = checked(model, data, declared)
    found = make(model, data, Space.of(space), seed)
    seen = examined(model, data, declared, timeout=timeout, memory=memory) if check else Examined(data.checked)
    protocol = Protocol(launches, adaptive=adaptive, max_drop=max_drop)
    opened_store = opened(store) if store is not None else None
    with opened_store or nullcontext():
        known = Known(opened_store, model, data, protocol, max_drop, declared) if opened_store else None
        size = 0 if known and known.has_data else _data_bytes(data)
        expected = expect(
            found, Units(model, data), History(), protocol, known=known, slots=slots(), warm=warm_groups(),
            new_data_bytes=size,
        )  # fmt: skip
        flips = known.flips if known else None
    found = replace(found, expected=expected, max_drop=max_drop, examined=seen)
    if flips is None or not found.resolves:
        return found
    flips = max(flips, 1 / found.evaluation_examples)
    resolves = half_width(flips, found.evaluation_examples)
    return replace(found, resolves=resolves, flips=flips, flips_measured=True)


def _data_bytes(data: Dataset) -> int:
    arrays = [array for split in data.splits.values() for array in split.inputs.values()]
    return sum(int(getattr(array, "nbytes", 0)) for array in arrays)

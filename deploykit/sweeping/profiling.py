"""The profiling stage of a sweep: where the time of each timed candidate goes, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

from deploykit.core.candidate import Target
from deploykit.core.digest import json_digest
from deploykit.core.errors import DeploykitError
from deploykit.core.result import Result
from deploykit.engines._contract import Running
from deploykit.measuring.profile import PROFILE_VERSION
from deploykit.measuring.profile_match import Comparison
from deploykit.reporting.causes import Facts, findings
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sandbox.task import Task
from deploykit.sweeping.building import NOBODYS_FAULT, Workshop
from deploykit.sweeping.state import State
from deploykit.sweeping.timing import Ready

#: A profile takes a fraction of a second: a child that is not done by then hangs.
_DEADLINE_S = 60.0


def profile(
    workshop: Workshop, running: Running, state: State, ready: list[Ready], pause: Callable[[], None] = lambda: None
) -> None:
    """Profile the timed candidates whose runtime can, and put the findings into all timed rows.

    Profiles are kept in the store: a second sweep makes none. A profile that fails is left out; what can be said
    without it is said.

    Raises:
        Cancelled: The user cancelled.
        EngineError: No machine could do it.
    """
    timed = [r for r in ready if (m := state.row(r.planned.key).measurement) is not None and m.latency is not None]
    flying: dict[str, Future[dict[str, Any]]] = {}
    targets: dict[str, Target] = {}
    hosts = {device: running.facts(device) for device in {r.target.device for r in timed}}
    keys = {r.planned.key: _key(workshop, r, hosts[r.target.device]) for r in timed}
    for item in timed:
        key = keys[item.planned.key]
        if key and key not in flying and workshop.store.record("profile", key) is None:
            state.say("latency", f"profiling {item.planned.label} on {item.target.runtime}")
            flying[key] = running.submit(_task(workshop, item))
            targets[key] = item.target
    for key, future in flying.items():
        pause()
        try:
            workshop.store.put_record("profile", key, future.result())
            state.durations.note(state.durations.units.profile(targets[key]), future.result()["seconds"])
        except NOBODYS_FAULT:
            raise
        except DeploykitError:
            continue  # the candidate was timed all the same; the next sweep tries again
    rows = state.rows
    for item in timed:
        row, key = state.row(item.planned.key), keys[item.planned.key]
        found = _comparison(workshop, key)
        facts = Facts(row, found, int(hosts[item.target.device]["cores"]), _fewer_threads(row, rows))
        state.explained(row.key, key if found else "", findings(facts))


def _task(workshop: Workshop, item: Ready) -> Task:
    assert item.reference is not None
    runtime = RUNTIMES.get(item.target.runtime)
    path, reference = workshop.path(item.built), workshop.path(item.reference)
    arguments = {
        "path": str(path),
        "reference": str(reference),
        "format": item.planned.format,
        "target": item.target.to_json(),
        "data": str(workshop.data_folder),
    }
    return Task(
        "deploykit.measuring.profile:profile", arguments, runtime.group,
        min(_DEADLINE_S, workshop.limits.timeout_s), workshop.limits.memory_bytes, imports=workshop.model.imports,
        name="profile", fresh=runtime.fresh_process,
        reads=tuple(dict.fromkeys((*workshop.files(path), *workshop.files(reference), str(workshop.data_folder)))),
        devices=() if item.target.device == "cpu" else (item.target.device,),
    )  # fmt: skip


def _comparison(workshop: Workshop, key: str) -> Comparison | None:
    record = workshop.store.record("profile", key) if key else None
    return None if record is None else Comparison.from_json(record)


def _key(workshop: Workshop, item: Ready, host: dict[str, Any]) -> str:
    """Key of the record; "" when there is nothing to compare."""
    runtime = RUNTIMES.get(item.target.runtime)
    if item.reference is None or item.reference.digest == item.built.digest or not runtime.profiles:
        return ""
    parts = [item.built.digest, item.reference.digest, item.target.to_json(), workshop.data.digest, host]
    return json_digest([*parts, runtime.versions(), PROFILE_VERSION])


def _fewer_threads(row: Result, rows: Iterable[Result]) -> Result | None:
    target = row.candidate.target
    fewer = [
        r
        for r in rows
        if r.candidate.recipe == row.candidate.recipe and r.measurement and r.measurement.latency
        and r.candidate.target.threads < target.threads
        and (r.candidate.target.runtime, r.candidate.target.device, r.candidate.target.batch_size)
        == (target.runtime, target.device, target.batch_size)
    ]  # fmt: skip
    return max(fewer, key=lambda r: r.candidate.target.threads, default=None)

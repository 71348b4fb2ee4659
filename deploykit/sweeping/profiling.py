"""The profiling stage of a sweep: where the time of each timed candidate goes, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

from deploykit.core.digest import json_digest
from deploykit.core.errors import DeploykitError
from deploykit.core.result import Result
from deploykit.engines._contract import Running
from deploykit.measuring.profile import PROFILE_VERSION
from deploykit.measuring.profile_match import Comparison
from deploykit.reporting.evidence.causes import Facts, findings
from deploykit.reporting.evidence.naming import named
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sandbox.task import Task
from deploykit.sweeping.state import State
from deploykit.sweeping.timing import Ready
from deploykit.sweeping.workshop import NOBODYS_FAULT, Workshop

#: A profile takes a fraction of a second: a child that is not done by then hangs.
_DEADLINE_S = 60.0


def expect(workshop: Workshop, running: Running, state: State, ready: list[Ready]) -> frozenset[str]:
    """Expect the profiles that the store lacks, so that the time left includes them; gives their keys."""
    store, units = workshop.store, state.durations.units
    found = {key: r.target for r in ready if (key := _key(workshop, r, running.facts(r.target.device)))}
    new = {key: target for key, target in found.items() if store.record("profile", key) is None}
    for key, target in new.items():
        state.durations.expect(f"profile {key}", units.profile(target))
    return frozenset(new)


def profile(
    workshop: Workshop,
    running: Running,
    state: State,
    ready: list[Ready],
    expected: frozenset[str],
    pause: Callable[[], None] = lambda: None,
) -> None:
    """Profile the timed candidates whose runtime can, and put the findings into all timed rows.

    Profiles are kept in the store: a second sweep makes none. A profile that fails is left out; what can be said
    without it is said.

    Args:
        workshop: Knows where artifacts are.
        running: The engine.
        state: Gets the findings.
        ready: The candidates.
        expected: What `expect` has given.
        pause: Returns when work may continue.

    Raises:
        Cancelled: The user cancelled.
        EngineError: No machine could do it.
    """
    timed = [r for r in ready if (m := state.row(r.planned.key).measurement) is not None and m.latency is not None]
    flying: dict[str, Future[dict[str, Any]]] = {}
    hosts = {device: running.facts(device) for device in {r.target.device for r in timed}}
    keys = {r.planned.key: _key(workshop, r, hosts[r.target.device]) for r in timed}
    for item in timed:
        key = keys[item.planned.key]
        if key in expected and key not in flying:
            flying[key] = running.submit(_task(workshop, item))
    for key in expected - flying.keys():  # those whose timing has failed
        state.durations.finish(f"profile {key}")
    for done, (key, future) in enumerate(flying.items()):
        pause()
        state.say("latency", f"measuring layers, {done + 1} of {len(flying)} models")
        seconds = None
        try:
            workshop.store.put_record("profile", key, future.result())
            seconds = float(future.result()["seconds"])
        except NOBODYS_FAULT:
            raise
        except DeploykitError:
            pass  # the candidate was timed all the same; the next sweep tries again
        state.durations.finish(f"profile {key}", seconds)
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
        "format": item.planned.opened_as,
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
    return None if record is None else named(Comparison.from_json(record), workshop.model.layers)


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

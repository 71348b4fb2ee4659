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
from deploykit.reporting.evidence.cause_facts import CauseFacts
from deploykit.reporting.evidence.causes import findings
from deploykit.reporting.evidence.naming import named
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sandbox.task import Task
from deploykit.sweeping.state import State
from deploykit.sweeping.timing import Ready
from deploykit.sweeping.workshop import ENDS_THE_SWEEP, Workshop

#: A profile takes a fraction of a second: a child that is not done by then hangs.
_DEADLINE_S = 60.0


class Profiling:
    """Profiles of one round of candidates. They are kept in the store: a second sweep makes none.

    Args:
        workshop: Knows where artifacts are.
        running: The engine.
        state: Gets the findings.
        ready: The candidates, before they are timed; the profiles that the store lacks are expected at once, so that
            the time left includes them.
    """

    def __init__(self, workshop: Workshop, running: Running, state: State, ready: list[Ready]) -> None:
        self._workshop = workshop
        self._running = running
        self._state = state
        self._ready = ready
        self._hosts = {device: running.facts(device) for device in {r.target.device for r in ready}}
        #: Key of the record by candidate.
        self._keys = {r.planned.key: _key(workshop, r, self._hosts[r.target.device]) for r in ready}
        self._lacking: set[str] = set()
        for item in ready:
            key, unit = self._keys[item.planned.key], state.durations.units.profile(item.target)
            if key and unit is not None and key not in self._lacking and workshop.store.record("profile", key) is None:
                self._lacking.add(key)
                state.durations.expect(f"profile {key}", unit)

    def run(self, pause: Callable[[], None]) -> None:
        """Profile the timed candidates whose runtime can, and put the findings into all timed rows.

        A profile that fails is left out; what can be said without it is said.

        Args:
            pause: Returns when work may continue.

        Raises:
            Cancelled: The user cancelled.
            EngineError: No machine could do it.
        """
        timed = [item for item in self._ready if self._is_timed(item)]
        self._profile(timed, pause)
        rows = self._state.rows
        for item in timed:
            row, key = self._state.row(item.planned.key), self._keys[item.planned.key]
            found = _comparison(self._workshop, key)
            cores = int(self._hosts[item.target.device]["cores"])
            said = findings(CauseFacts(row, found, cores, _fewer_threads(row, rows)))
            self._state.explained(row.key, key if found else "", said)

    def _is_timed(self, item: Ready) -> bool:
        row = self._state.row(item.planned.key)
        return row.status != "failed" and row.measurement is not None and row.measurement.latency is not None

    def _profile(self, timed: list[Ready], pause: Callable[[], None]) -> None:
        store, durations = self._workshop.store, self._state.durations
        flying: dict[str, Future[dict[str, Any]]] = {}
        for item in timed:
            key = self._keys[item.planned.key]
            if key in self._lacking and key not in flying:
                flying[key] = self._running.submit(_task(self._workshop, item))
        for key in self._lacking - flying.keys():  # those whose timing has failed
            durations.finish(f"profile {key}")
        for done, (key, future) in enumerate(flying.items()):
            pause()
            self._state.say("latency", f"measuring layers, {done + 1} of {len(flying)} models")
            seconds = None
            try:
                store.put_record("profile", key, future.result())
                seconds = float(future.result()["seconds"])
            except ENDS_THE_SWEEP:
                raise
            except DeploykitError:
                pass  # the candidate was timed all the same; the next sweep tries again
            durations.finish(f"profile {key}", seconds)


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
        devices=() if item.target.device == "cpu" else (item.target.device,), on_target=True,
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

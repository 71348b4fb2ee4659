"""The latency stage of a sweep: which sessions are timed together, and what becomes of the launches."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from deploykit.core.candidate import Target
from deploykit.core.digest import json_digest
from deploykit.core.errors import CandidateError, from_json
from deploykit.core.result import Latency
from deploykit.measuring.environment import core_count
from deploykit.measuring.latency import GROUP_SIZE, Entry, Launch, Timer
from deploykit.measuring.ratios import BASELINE, CLONE, latencies, steady
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sweeping.building import Built, Workshop
from deploykit.sweeping.plan import Planned
from deploykit.sweeping.state import State

#: Raised when what a launch does changes.
_PROTOCOL = 1


@dataclass(frozen=True)
class Protocol:
    """How long latency is measured.

    Attributes:
        launches: Launches of every session.
        rounds: Blocks in each launch.
        budget_s: While the noise floor is too high, launches are added up to twice their number within this time.
    """

    launches: int = 10
    rounds: int = 5
    budget_s: float = 60.0


@dataclass(frozen=True)
class Ready:
    """A candidate that is built and evaluated.

    Attributes:
        planned: The candidate.
        built: Its artifact.
        reference: Artifact of float32 on the same runtime, None when there is none.
    """

    planned: Planned
    built: Built
    reference: Built | None

    @property
    def target(self) -> Target:
        """Where it runs."""
        return self.planned.candidate.target


class TimingStage:
    """Times candidates in groups, each with the baseline and its clone.

    Args:
        workshop: Knows where artifacts are.
        state: Gets the latencies.
        timer: Runs launches.
        protocol: How long.
        baseline: The model as given.
    """

    def __init__(self, workshop: Workshop, state: State, timer: Timer, protocol: Protocol, baseline: Ready) -> None:
        self._workshop = workshop
        self._state = state
        self._timer = timer
        self._protocol = protocol
        self._baseline = baseline

    def run(self, ready: list[Ready], pause: Callable[[], None]) -> None:
        """Time all candidates that have no latency yet.

        Raises:
            Cancelled: The user cancelled; finished launches are kept.
        """
        twins: dict[tuple[str, Target], list[Ready]] = {}
        for item in ready:
            twins.setdefault((item.built.digest, item.target), []).append(item)
        groups: dict[str, list[list[Ready]]] = {}
        new: list[list[Ready]] = []
        for same in twins.values():
            record = self._workshop.store.record("timed", self._measurement_key(same[0], self._facts(same)))
            if record is None:
                new.append(same)
            else:
                groups.setdefault(record["series"], []).append(same)
        for series, members in groups.items():
            self._report(self._launches(series), members, final=True)
        hardware: dict[str, list[list[Ready]]] = {}
        for same in new:
            hardware.setdefault(json_digest(self._facts(same)), []).append(same)
        chunks = [chunk for alike in hardware.values() for chunk in _batched(alike)]
        self._state.expect("launch", self._protocol.launches * len(chunks))
        for chunk in chunks:
            self._group(list(chunk), pause)

    def _group(self, members: list[list[Ready]], pause: Callable[[], None]) -> None:
        entries = self._entries([same[0] for same in members])
        facts = self._facts(members[0])
        keys = sorted(self._measurement_key(same[0], facts) for same in members)
        series = json_digest([keys, self._measurement_key(self._baseline, facts), self._protocol.rounds])
        done = self._launches(series)
        for launch in done[: self._protocol.launches]:
            self._state.finish("launch", None)
            del launch
        spent, limit = sum(launch.seconds for launch in done), self._protocol.launches
        while len(done) < limit:
            pause()
            self._state.say("latency", f"timing {len(entries)} sessions · launch {len(done) + 1} of {limit}")
            started = time.monotonic()
            launch = self._timer.launch(len(done), entries, lambda words: self._state.say("latency", words))
            self._workshop.store.put_launch(series, launch.index, launch)
            done.append(launch)
            spent += launch.seconds
            self._state.finish("launch", time.monotonic() - started)
            last = len(done) >= limit
            if last and not steady(done) and limit < 2 * self._protocol.launches and self._affordable(spent, done):
                limit, last = limit + 1, False
                self._state.expect("launch", 1)
            if last or len(done) > 1:
                self._report(done, members, final=last)
        if len(done) >= limit:
            self._report(done, members, final=True)
        for same in members:
            if self._state.row(same[0].planned.key).status == "measured":
                key = self._measurement_key(same[0], facts)
                self._workshop.store.put_record("timed", key, {"series": series, "entry": _key(same[0])})

    def _affordable(self, spent: float, done: list[Launch]) -> bool:
        return spent + spent / len(done) <= self._protocol.budget_s

    def _entries(self, chosen: list[Ready]) -> list[Entry]:
        base = self._entry(BASELINE, self._baseline)
        entries = {BASELINE: base, CLONE: replace(base, key=CLONE)}
        for item in chosen:
            if _key(item) != _key(self._baseline):
                entries[_key(item)] = self._entry(_key(item), item)
        for item in chosen:
            reference = self._reference(item)
            if reference is not None and _key(reference) not in entries and _key(reference) != _key(self._baseline):
                entries[_key(reference)] = self._entry(_key(reference), reference)
        return list(entries.values())

    def _reference(self, item: Ready) -> Ready | None:
        return None if item.reference is None else replace(item, built=item.reference)

    def _entry(self, key: str, item: Ready) -> Entry:
        runtime = RUNTIMES.get(item.target.runtime)
        format_name = item.planned.format
        path = self._workshop.path(item.built)
        reads = self._workshop.files(path)
        return Entry(key, str(path), format_name, item.target, runtime.group, reads)

    def _report(self, launches: list[Launch], members: list[list[Ready]], *, final: bool) -> None:
        own = _key(self._baseline)
        names = {_key(s[0]): BASELINE if _key(s[0]) == own else _key(s[0]) for s in members}
        references: dict[str, str | None] = {}
        for same in members:
            reference = self._reference(same[0])
            key = _key(reference) if reference else None
            name = names[_key(same[0])]
            key = BASELINE if key == own else key
            references[name] = None if key == name else key
        found = latencies(launches, references)
        for same in members:
            self._put(same, names[_key(same[0])], launches, found, final=final)

    def _put(
        self, same: list[Ready], name: str, launches: list[Launch], found: dict[str, Latency], *, final: bool
    ) -> None:
        series = [s for launch in launches if (s := launch.series.get(name)) is not None]
        error = next((s.error for s in series if s.error is not None), None)
        for item in same:
            key, first = item.planned.key, same[0].planned.key
            if error is not None:
                self._state.failed(key, from_json(error), "latency")
            elif name in found:
                memory = int(sorted(s.peak_memory_bytes for s in series)[len(series) // 2])
                twin = "" if key == first else first
                where = launches[-1].environment
                self._state.timed(key, found[name], memory, final=final, same_as=twin, environment=where)
            elif final:
                self._state.failed(key, CandidateError("it was never timed.", remedy="run the sweep again."), "latency")

    def _launches(self, series: str) -> list[Launch]:
        return [Launch.from_json(data) for data in self._workshop.store.launches(series).values()]

    def _facts(self, same: list[Ready]) -> dict[str, Any]:
        """The hardware and versions these candidates are timed with."""
        return self._timer.running.facts(same[0].target.device)

    def _measurement_key(self, item: Ready, facts: dict[str, Any]) -> str:
        return measurement_key(item.built.digest, item.target, self._workshop.data.digest, facts, self._protocol)


def measurement_key(artifact: str, target: Target, data: str, facts: dict[str, Any], protocol: Protocol) -> str:
    """Key of a latency: digests of artifact and data, target, host facts and protocol."""
    return json_digest([artifact, target.to_json(), data, facts, _PROTOCOL, protocol.launches, protocol.rounds])


def _key(item: Ready) -> str:
    return json_digest([item.built.digest, item.target.to_json()])[:12]


def _batched(items: list[list[Ready]]) -> list[list[list[Ready]]]:
    """Groups small enough to have all their sessions alive at once (itertools.batched needs Python 3.12)."""
    size = GROUP_SIZE - 2
    return [items[i : i + size] for i in range(0, len(items), size)]


def useless_threads(threads: int) -> str:
    """Why so many threads are not tried here; "" when they are."""
    cores = core_count()
    return "" if threads <= cores else f"{threads} threads on {cores} core{'s' if cores != 1 else ''} only get slower"

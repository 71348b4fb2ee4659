"""The latency stage of a sweep: which sessions are timed together, and what becomes of the launches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deploykit.choosing.pareto import beats
from deploykit.core.candidate import Target
from deploykit.core.digest import json_digest
from deploykit.core.errors import CandidateError, from_json
from deploykit.core.result import Footprint, Latency
from deploykit.measuring.latency import GROUP_SIZE, Launch, Timed, Timer
from deploykit.measuring.ratios import BASELINE, CLONE, latencies, steady
from deploykit.measuring.sessions.footprints import footprints, length_times
from deploykit.planning.finished import Built
from deploykit.planning.planned import Planned
from deploykit.planning.protocol import Protocol, measurement_key, series_key, timed_key
from deploykit.planning.screening import MARGIN, foreseen, launched, losing, standings
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sweeping.forecast import Forecast, models, shares
from deploykit.sweeping.state import State
from deploykit.sweeping.workshop import Workshop

#: A launch that takes longer than this many times the work on its sessions has waited for another process.
_IDLE = 1.5


@dataclass(frozen=True)
class Ready:
    """A candidate that is built and evaluated.

    Attributes:
        planned: The candidate.
        built: What its runtime opens.
        reference: The same of float32 on the same runtime, None when there is none.
    """

    planned: Planned
    built: Built
    reference: Built | None

    @property
    def target(self) -> Target:
        """Where it runs."""
        return self.planned.candidate.target


@dataclass
class _Group:
    """Candidates timed together.

    Attributes:
        members: Byte-identical candidates on one target, together.
        series: Name of their launches in the store.
        launches: Finished ones.
    """

    members: list[list[Ready]]
    series: str
    launches: list[Launch]


class TimingStage:
    """Times candidates in groups, each with the baseline and its clone.

    Args:
        workshop: Knows where artifacts are.
        state: Gets the latencies.
        timer: Runs launches.
        protocol: How long.
        baseline: The original model.
        last: Whether no other round of candidates comes after these.
    """

    def __init__(
        self,
        workshop: Workshop,
        state: State,
        timer: Timer,
        protocol: Protocol,
        baseline: Ready,
        *,
        last: bool = False,
    ) -> None:
        self._workshop = workshop
        self._state = state
        self._timer = timer
        self._protocol = protocol
        self._baseline = baseline
        self._new: list[Ready] = []
        self._seen: dict[str, float] = {}
        self._worked = 0.0
        self._resumed = False
        self._last = last
        self._forecast: Forecast  # from `run` on: until then the plan's holds

    def run(self, ready: list[Ready], pause: Callable[[], None]) -> None:
        """Time all candidates that have no latency yet: all of them shortly, then those near the front.

        Raises:
            Cancelled: The user cancelled; finished launches are kept.
        """
        new = self._known(ready)
        self._new = [same[0] for same in new]
        hardware: dict[str, list[list[Ready]]] = {}
        for same in new:
            hardware.setdefault(json_digest(self._facts(same)), []).append(same)
        screen = self._protocol.screen
        chunks = [chunk for alike in hardware.values() for chunk in _batched(alike)]
        self._state.expect(screen * len(chunks) + (self._protocol.launches - screen) * len(hardware))
        self._forecast = self._begin(chunks)
        screened = [self._group(chunk, "screen") for chunk in chunks] if screen else []
        self._forecast.screening([self._targets(g) for g in screened], [len(g.launches) for g in screened])
        for place, group in enumerate(screened):
            self._fill(group, screen, pause, place, f"timing {models(self._entries_of(group), place, len(screened))}")
            self._report(group.launches, group.members, final=False)
        earlier = [launch for group in screened for launch in group.launches]
        kept = new
        if screen:
            alive = [same for same in new if self._state.row(same[0].planned.key).status != "failed"]
            kept = [same for same in alive if not self._hopeless(same[0])]
        final = self._finish(kept, earlier, pause)
        self._conclude([*screened, *final], kept)
        self._remember()
        self._state.foresee("latency", None)

    def _begin(self, chunks: list[list[list[Ready]]]) -> Forecast:
        """Say how long it will take."""
        durations, protocol = self._state.durations, self._protocol
        targets = [e.target for chunk in chunks for e in self._entries([same[0] for same in chunk])]
        unit = durations.units.launches([item.target for item in self._new], screened=bool(protocol.screen))
        ratio = durations.history.expect(unit).seconds
        new = {i.planned.key: i.planned.candidate for i in self._new} if protocol.screen else {}
        if (keys := foreseen(self._state.rows, new, protocol.max_drop)) is not None:  # as in the plan
            kept = self._sessions_of(keys)
            ratio = launched(ratio, protocol.launches, protocol.screen, len(kept) / len(targets))
        forecast = Forecast(
            durations, protocol.launches, protocol.screen, protocol.most, protocol.budget_s, targets, ratio
        )
        self._state.foresee("latency", forecast.seconds)
        if self._last and chunks:
            self._state.foresee("later", None)  # it is a part of this now
        return forecast

    def _finish(self, kept: list[list[Ready]], earlier: list[Launch], pause: Callable[[], None]) -> list[_Group]:
        """The rest of the launches for those that were kept."""
        hardware: dict[str, list[list[Ready]]] = {}
        for same in kept:
            hardware.setdefault(json_digest(self._facts(same)), []).append(same)
        groups = [self._group(chunk, "") for alike in hardware.values() for chunk in _batched(alike)]
        left = self._protocol.launches - self._protocol.screen
        self._state.expect(left * (len(groups) - len(hardware)))
        self._forecast.finishing([self._targets(g) for g in groups], [max(0, left - len(g.launches)) for g in groups])
        some = len(kept) < len(self._new)
        for place, group in enumerate(groups):
            count = self._entries_of(group)
            words = f"the {count} models near the front" if some else models(count, place, len(groups))
            self._fill(group, left, pause, place, f"timing {words}", earlier)
        return groups

    def _entries_of(self, group: _Group) -> int:
        """Models in a launch of a group: the baseline's clone is not another one."""
        return len(self._entries([same[0] for same in group.members])) - 1

    def _targets(self, group: _Group) -> list[Target]:
        return [e.target for e in self._entries([same[0] for same in group.members])]

    def _conclude(self, groups: list[_Group], kept: list[list[Ready]]) -> None:
        """Report and commit what all launches together show of each candidate."""
        concluded: set[str] = set()
        for group in reversed(groups):  # the groups of the last launches first: their members were screened as well
            hardware = json_digest(self._facts(group.members[0]))
            alike = [g for g in groups if json_digest(self._facts(g.members[0])) == hardware]
            launches = [launch for g in alike for launch in g.launches]
            members = [same for same in group.members if _key(same[0]) not in concluded]
            concluded |= {_key(same[0]) for same in members}
            for screened in (False, True):
                chosen = [same for same in members if (same not in kept) == screened]
                self._report(launches, chosen, final=True, screened=screened)
                for same in chosen:
                    if self._state.row(same[0].planned.key).status == "measured":
                        key = self._timed_key(same)
                        record = {"series": [g.series for g in alike], "screened": screened}
                        self._workshop.store.put_record("timed", key, record)

    def _known(self, ready: list[Ready]) -> list[list[Ready]]:
        """Report what is in the store; the rest, byte-identical ones together."""
        twins: dict[tuple[str, Target], list[Ready]] = {}
        for item in ready:
            twins.setdefault((item.built.digest, item.target), []).append(item)
        known: dict[tuple[tuple[str, ...], bool], list[list[Ready]]] = {}
        new: list[list[Ready]] = []
        for same in twins.values():
            record = self._workshop.store.record("timed", self._timed_key(same))
            if record is None or (record["screened"] and not self._protocol.screen):
                new.append(same)
            else:
                known.setdefault((tuple(record["series"]), record["screened"]), []).append(same)
        for (series, screened), members in known.items():
            launches = [launch for name in series for launch in self._launches(name)]
            self._report(launches, members, final=True, screened=screened)
        return new

    def _hopeless(self, item: Ready) -> bool:
        """Whether more launches would not bring a candidate to the front.

        Another one is confirmed faster by over a tenth and by estimate no less accurate, or it is confirmed to lose
        more than the sweep allows.
        """
        row = self._state.row(item.planned.key)
        if row.measurement is None or row.measurement.latency is None or _key(item) == _key(self._baseline):
            return False
        limit = self._protocol.max_drop
        if limit is not None and row.measurement.score.drop.low > limit:
            return True
        return any(
            beats(other, row, margin=MARGIN)
            for other in self._state.rows
            if other.key != row.key and other.status != "failed"
        )

    def _group(self, members: list[list[Ready]], phase: str) -> _Group:
        facts = self._facts(members[0])
        keys = [self._measurement_key(same[0], facts) for same in members]
        series = series_key(keys, self._measurement_key(self._baseline, facts), self._protocol.rounds, phase)
        return _Group(members, series, self._launches(series))

    def _fill(
        self,
        group: _Group,
        wanted: int,
        pause: Callable[[], None],
        place: int,
        words: str,
        earlier: Sequence[Launch] | None = None,
    ) -> None:
        """Launch until a group has the launches that are wanted, and some more while the host is noisy.

        Args:
            group: The sessions.
            wanted: How many launches.
            pause: See `run`.
            place: Of the group among those that are timed one after the other.
            words: What is done.
            earlier: Launches of the same candidates in other groups, when these are the last ones; None for a screen.
        """
        done = group.launches
        self._resumed = self._resumed or bool(done)
        for _launch in done[:wanted]:
            self._state.finish(None)
        limit, spent = wanted, sum(launch.seconds for launch in done)
        while len(done) < limit:
            pause()
            entries = self._entries([s[0] for s in group.members if not _failed(s[0], done)])
            before = self._protocol.screen if earlier is not None else 0
            self._state.say("latency", f"{words}, round {before + len(done) + 1} of {before + limit}")
            self._forecast.begin(e.target for e in entries)
            launch = self._timer.launch(len(done), entries, lambda said: self._state.say("latency", said))
            self._workshop.store.put_launch(group.series, launch.index, launch)
            self._watch(launch, entries)
            done.append(launch)
            spent += launch.seconds
            self._forecast.end(place, [*(earlier or ()), *done])
            self._state.finish(launch.seconds)
            everything = [*(earlier or ()), *done]
            noisy = earlier is not None and len(done) >= limit and not steady(everything)
            if noisy and len(everything) < self._protocol.most and self._affordable(spent, done):
                limit += 1
                self._state.expect(1)
            if len(everything) > 1:
                self._report(everything, group.members, final=False)
            if earlier is None:
                seen = shares(launch)
                self._seen |= {m[0].planned.key: seen[_key(m[0])] for m in group.members if _key(m[0]) in seen}
                known = standings(self._state.rows)
                new = [key for key in self._seen if key in known and known[key].time is None]
                known |= {key: replace(known[key], time=self._seen[key]) for key in new}
                lost = losing(known, self._protocol.max_drop)
                self._forecast.keeping(self._sessions_of({i.planned.key for i in self._new} - lost))

    def _sessions_of(self, keys: Collection[str]) -> list[Target]:
        """Sessions of a launch of some of the candidates, and of the baseline."""
        kept = [i for i in self._new if i.planned.key in keys or _key(i) == _key(self._baseline)]
        return [entry.target for entry in self._entries(kept)]

    def _watch(self, launch: Launch, entries: list[Timed]) -> None:
        """Remember how long the sessions of a launch took."""
        took: dict[Target, list[float]] = {}
        for entry in entries:
            if (series := launch.series.get(entry.key)) is not None and series.error is None:
                took.setdefault(entry.target, []).append(series.seconds)
        self._state.durations.launched(took)
        self._worked += min(launch.seconds, _IDLE * sum(sum(values) for values in took.values()))

    def _remember(self) -> None:
        """Remember what all launches took, as a ratio to what was asked for: of all candidates, and no more of them."""
        if not self._new or self._resumed:  # what an earlier sweep has done also took time
            return
        durations, protocol = self._state.durations, self._protocol
        groups = [[same[0] for same in chunk] for chunk in _batched([[item] for item in self._new])]
        targets = [entry.target for group in groups for entry in self._entries(group)]
        whole = durations.sessions(targets) * protocol.launches
        if whole:
            unit = durations.units.launches([item.target for item in self._new], screened=bool(protocol.screen))
            durations.note(unit, self._worked / whole)

    def _affordable(self, spent: float, done: list[Launch]) -> bool:
        return spent + spent / len(done) <= self._protocol.budget_s

    def _entries(self, chosen: list[Ready]) -> list[Timed]:
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

    def _entry(self, key: str, item: Ready) -> Timed:
        runtime = RUNTIMES.get(item.target.runtime)
        format_name = item.planned.opened_as
        path = self._workshop.path(item.built)
        reads = self._workshop.files(path)
        return Timed(key, str(path), format_name, item.target, runtime.group, reads)

    def _report(
        self, launches: Sequence[Launch], members: list[list[Ready]], *, final: bool, screened: bool = False
    ) -> None:
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
        if screened:
            found = {k: replace(v, flags=(*v.flags, "screened")) for k, v in found.items()}
        for same in members:
            self._put(same, names[_key(same[0])], launches, found, final=final)

    def _put(
        self, same: list[Ready], name: str, launches: Sequence[Launch], found: dict[str, Latency], *, final: bool
    ) -> None:
        series = [s for launch in launches if (s := launch.series.get(name)) is not None]
        error = next((s.error for s in series if s.error is not None), None)
        taken = footprints(launches, [name]).get(name, Footprint()), length_times(launches, name)
        for item in same:
            key, first = item.planned.key, same[0].planned.key
            if error is not None:
                self._state.failed(key, from_json(error), "latency")
            elif name in found:
                twin = "" if key == first else first
                where = launches[-1].environment
                seconds = sum(s.seconds for s in series)
                self._state.timed(key, found[name], taken, seconds, final=final, same_as=twin, environment=where)
                self._state.lost(key, [worker for launch in launches for worker in launch.lost_workers])
            elif final:
                self._state.failed(
                    key, CandidateError("This candidate was never timed.", remedy="rerun the sweep."), "latency"
                )

    def _launches(self, series: str) -> list[Launch]:
        return [Launch.from_json(data) for data in self._workshop.store.launches(series).values()]

    def _facts(self, same: list[Ready]) -> dict[str, Any]:
        """The hardware and versions these candidates are timed with."""
        return self._timer.running.facts(same[0].target.device)

    def _timed_key(self, same: list[Ready]) -> str:
        facts = self._facts(same)
        return timed_key(self._measurement_key(same[0], facts), self._measurement_key(self._baseline, facts))

    def _measurement_key(self, item: Ready, facts: dict[str, Any]) -> str:
        return measurement_key(item.built.digest, item.target, self._workshop.data.digest, facts, self._protocol)


def _key(item: Ready) -> str:
    return json_digest([item.built.digest, item.target.to_json()])[:12]


def _failed(item: Ready, done: list[Launch]) -> bool:
    series = [launch.series.get(_key(item)) for launch in done]
    return any(s is not None and s.error is not None for s in series)


def _batched(items: list[list[Ready]]) -> list[list[list[Ready]]]:
    """Groups small enough to have all their sessions alive at once (itertools.batched needs Python 3.12)."""
    size = GROUP_SIZE - 2
    return [items[i : i + size] for i in range(0, len(items), size)]

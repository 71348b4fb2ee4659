"""How long a plan will take, and how much disk: a sweep played through with the durations that are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, dataclass, field, replace
from itertools import islice

from deploykit.core.candidate import Target
from deploykit.measuring.latency import GROUP_SIZE
from deploykit.planning.durations import OVERHEAD_S, Units
from deploykit.planning.finished import Built
from deploykit.planning.history import History, How, Unit
from deploykit.planning.known import Known
from deploykit.planning.makespan import PlannedTask, makespan
from deploykit.planning.plan import Plan
from deploykit.planning.planned import Expected, Planned
from deploykit.planning.protocol import Protocol, useless_threads
from deploykit.planning.screening import foreseen, launched
from deploykit.planning.steps import BuildStep

#: Relative error of an estimate, by how it is known.
_ERROR: dict[How, float] = {"this model": 1.4, "other models": 2.0, "typical": 3.0}
_HOWS: tuple[How, ...] = ("this model", "other models", "typical")


@dataclass
class _Tally:
    """Work found so far."""

    jobs: dict[str, PlannedTask] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=lambda: {"build": 0.0, "accuracy": 0.0})
    hows: dict[How, float] = field(default_factory=lambda: dict.fromkeys(_HOWS, 0.0))
    disk_bytes: int = 0


def expect(
    plan: Plan,
    units: Units,
    history: History,
    protocol: Protocol,
    *,
    known: Known | None,
    slots: int,
    warm: Iterable[str] = (),
    new_data_bytes: int = 0,
) -> Expected:
    """What a plan will take.

    Args:
        plan: What would run.
        units: Units of work of its model and data.
        history: Durations.
        protocol: How latency would be measured.
        known: Finished work, None when there is none.
        slots: Tasks that run at once.
        warm: Import groups whose frameworks are imported already.
        new_data_bytes: Size of the data as the store keeps them.
    """
    return _Estimate(plan, units, history, protocol, known, slots, frozenset(warm)).run(new_data_bytes)


class _Estimate:
    def __init__(
        self, plan: Plan, units: Units, history: History, protocol: Protocol, known: Known | None, slots: int,
        warm: frozenset[str],
    ) -> None:  # fmt: skip
        self._plan = plan
        self._units = units
        self._history = history
        self._protocol = protocol
        self._known = known
        self._slots = slots
        self._warm = warm
        self._tally = _Tally()
        self._built: dict[str, Built | None] = {}
        self._dead: set[str] = set()
        self._untimed: dict[tuple[str, Target], Planned] = {}
        self._home: tuple[str, Target] | None = None
        self._first = ""

    def run(self, new_data_bytes: int) -> Expected:
        baseline = next(c for c in self._plan.candidates if c.key == self._plan.baseline)
        for planned in (baseline, *self._plan.candidates):
            self._add(planned)
        wall, work = makespan(self._tally.jobs, self._slots), sum(self._tally.stages.values())
        latency, sessions = self._latency(baseline)
        stages = {name: wall * s / work if work else 0.0 for name, s in self._tally.stages.items()}
        stages["latency"] = latency
        return self._expected(stages, sessions, new_data_bytes)

    def _expected(self, stages: dict[str, float], sessions: int, new_data_bytes: int) -> Expected:
        seconds, jobs, hows = sum(stages.values()), self._tally.jobs, self._tally.hows
        total = sum(hows.values())
        error = sum(_ERROR[how] * share for how, share in hows.items()) / total if total else 1.0
        how: How = max(_HOWS, key=lambda h: hows[h]) if total else "this model"
        kinds = Counter(identity.partition(" ")[0] for identity in jobs)
        return Expected(
            seconds, seconds / error, seconds * error, stages, how, kinds["step"], kinds["evaluation"], sessions,
            self._tally.disk_bytes + new_data_bytes,
        )  # fmt: skip

    # -- build and accuracy -----------------------------------------------------------------------------------------

    def _add(self, planned: Planned) -> None:
        """The work of a candidate that is still to do and that no earlier one does."""
        source, built = "", self._step("", None)
        for key in planned.steps:
            if source in self._dead:
                self._dead.add(key)
            else:
                built = self._step(key, self._plan.steps[key], source)
            source = key
        if source in self._dead:
            return
        target = planned.candidate.target
        if built is None or self._known is None or not self._known.evaluated(built, target):
            unit = self._units.evaluation(target)
            identity = f"evaluation {source} {target.runtime} {target.device}"
            self._job(identity, unit, "accuracy", f"step {source}", self._first)
            if planned.key == self._plan.baseline:
                self._first = identity  # others are compared with it
        if built is not None and planned.key == self._plan.baseline:
            self._home = built.digest, target
        if built is None or self._known is None or not self._home or not self._known.timed(built, target, self._home):
            self._untimed.setdefault((built.digest if built else source, target), planned)

    def _step(self, key: str, step: BuildStep | None, source: str = "") -> Built | None:
        if key not in self._built:
            known = self._known
            self._built[key] = known.built(step) if known else None
            if self._built[key] is None and known is not None and known.failed(step):
                self._dead.add(key)
            elif self._built[key] is None:
                unit = self._units.step(step)
                self._job(f"step {key}", unit, "build", *([f"step {source}"] if source else []))
                if step is not None:
                    self._tally.disk_bytes += self._size_bytes(step, unit)
                else:
                    self._tally.disk_bytes += self._units.reference_bytes()
        return self._built[key]

    def _size_bytes(self, step: BuildStep, unit: Unit) -> int:
        """What a step adds: as it did for this model, else by the weights; what a stage links is counted once."""
        known = self._history.size_bytes(unit) if step.kind != "prepare" else None
        return known or self._units.size_bytes(step)

    def _job(self, identity: str, unit: Unit, stage: str, *after: str) -> None:
        jobs = self._tally.jobs
        if identity in jobs:
            return
        start = f"start {unit.group}"
        if unit.group not in self._warm and start not in jobs:
            jobs[start] = PlannedTask(self._guess(self._units.start(unit.group)))
            self._tally.stages["build"] += jobs[start].seconds
        jobs[identity] = PlannedTask(self._guess(unit) + OVERHEAD_S, (start, *after))
        self._tally.stages[stage] += jobs[identity].seconds
        if unit.kind == "evaluation":
            self._tally.disk_bytes += self._units.outputs_bytes() + 1000

    def _guess(self, unit: Unit, times: float = 1.0, also: How = "this model") -> float:
        guess = self._history.expect(unit)
        how = max(guess.how, also, key=_HOWS.index)
        self._tally.hows[how] += guess.seconds * times
        return guess.seconds

    # -- latency ----------------------------------------------------------------------------------------------------

    def _latency(self, baseline: Planned) -> tuple[float, int]:
        """Seconds of the latency stage, and sessions in a launch."""
        protocol = self._protocol
        if not protocol.launches:
            return 0.0, 0
        first = [(t, not c.candidate.recipe.steps) for (_, t), c in self._untimed.items() if c is not baseline]
        if not self._untimed:
            return 0.0, 0
        home = baseline.candidate.target
        second = second_round(self._plan)
        found = [*sessions(first, home), *(sessions([(t, False) for t in second], home) if second else [])]
        ratio, how = astuple(
            self._history.expect(self._units.launches([t for _, t in self._untimed], screened=bool(protocol.screen)))
        )
        if (share := self._kept(first, home)) is not None:
            ratio = launched(ratio, protocol.launches, protocol.screen, share)
        counted = Counter(self._units.session(target) for target in found)
        one = sum(self._guess(unit, count * protocol.launches, how) * count for unit, count in counted.items())
        kept = sum(self._units.launch_bytes(target) for target in found)
        self._tally.disk_bytes += round(kept * protocol.launches * ratio)
        profiled = [
            self._guess(unit)
            for (_, target), planned in self._untimed.items()
            if planned.candidate.recipe.steps and (unit := self._units.profile(target)) is not None
        ]
        starts = {u.group for u in counted} - self._warm - {k.partition(" ")[2] for k in self._tally.jobs}
        seconds = one * protocol.launches * ratio * (1 - self._launched(baseline)) + sum(profiled) / self._slots
        return seconds + sum(self._guess(self._units.start(g)) for g in starts), len(found)

    def _kept(self, timed: list[tuple[Target, bool]], home: Target) -> float | None:
        """Share of a launch that is left after the screen, by earlier candidates like these; None: unknown."""
        rows = self._known.rows if self._known is not None and self._protocol.screen else []
        new = {planned.key: planned.candidate for planned in self._untimed.values()}
        if (keys := foreseen(rows, new, self._protocol.max_drop)) is None:
            return None
        kept = [(c.target, not c.recipe.steps) for key, c in new.items() if key in keys]
        return len(sessions(kept, home)) / len(sessions(timed, home)) if kept else 0.0

    def _launched(self, baseline: Planned) -> float:
        """Share of the launches that an interrupted sweep has done."""
        base = self._built[baseline.steps[-1] if baseline.steps else ""]
        if self._known is None or base is None:
            return 0.0
        members, size = list(self._untimed), GROUP_SIZE - 2
        home = base.digest, baseline.candidate.target
        done = sum(
            self._known.launched(chunk, home) * len(chunk)
            for chunk in (members[i : i + size] for i in range(0, len(members), size))
        )
        return done / self._protocol.launches / len(members)


def second_round(plan: Plan) -> list[Target]:
    """Targets of the second round, as far as they are known before the first: those of the first candidates."""
    refine = plan.refine
    first = [c.candidate.target for c in islice(plan.candidates, refine.top)]
    return [
        replace(target, threads=threads)
        for target in first
        for threads in refine.threads
        if threads != target.threads and not useless_threads(threads)
    ]


def sessions(timed: list[tuple[Target, bool]], baseline: Target) -> list[Target]:
    """Sessions of one launch, over all groups: candidates, the baseline, its clone, and float32 on their runtimes.

    Args:
        timed: Candidates other than the baseline: target, and whether it is the original model.
        baseline: Where the baseline runs.
    """
    size = GROUP_SIZE - 2
    found: list[Target] = []
    for i in range(0, max(1, len(timed)), size):
        chunk = timed[i : i + size]
        originals = {target for target, original in chunk if original}
        references = {target for target, _ in chunk} - originals - {baseline}
        found += [*(target for target, _ in chunk), baseline, baseline, *references]
    return found

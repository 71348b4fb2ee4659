"""Building and evaluating candidates: each piece of shared work once, as many at a time as the engine has slots."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from deploykit.choosing.goals import limit
from deploykit.choosing.pareto import dominating
from deploykit.core.candidate import Target
from deploykit.core.errors import DeploykitError
from deploykit.engines._contract import Running
from deploykit.measuring.attacks import Attacked
from deploykit.measuring.racing import Race, Stopped
from deploykit.metrics._choose import MetricLike
from deploykit.planning.finished import Built, reported
from deploykit.planning.planned import Planned
from deploykit.planning.steps import BuildStep
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sweeping.attacks import Attacks
from deploykit.sweeping.scoring import Judge
from deploykit.sweeping.state import State
from deploykit.sweeping.workshop import Workshop
from deploykit.transforms._contract import UNITS

#: Identity of the original model among build steps.
GIVEN = "given"


@dataclass(frozen=True)
class Racing:
    """When candidates are stopped early.

    Attributes:
        max_drop: A candidate confirmed to lose more is stopped; None: nothing is stopped.
        cost: Name of the cost by which a finished candidate may dominate another.
    """

    max_drop: float | None = None
    cost: str = "latency"


@dataclass(frozen=True)
class _Work:
    """A unit in progress."""

    kind: str
    key: str
    words: str
    began: float
    step: BuildStep | None = None
    unit: str = ""


class Evaluator:
    """Builds and evaluates candidates.

    Args:
        workshop: Starts and keeps the work.
        running: The engine.
        state: Gets rows and progress.
        metric: The metric the user asked for.
        racing: When candidates are stopped early.
        pause: Returns when work may continue; raises `Cancelled`.
        timed: Whether latency is measured afterwards: no row is final before.
        attacks: Attacks each candidate that is evaluated; None: none is attacked.

    Attributes:
        judge: Scores outputs; None until the first candidate, which must be the baseline, is evaluated.
    """

    def __init__(
        self,
        workshop: Workshop,
        running: Running,
        state: State,
        metric: MetricLike,
        racing: Racing,
        pause: Callable[[], None],
        *,
        timed: bool,
        attacks: Attacks | None = None,
    ) -> None:
        self._workshop = workshop
        self._timed = timed
        self._attacks = attacks
        #: What attacks found, by their keys.
        self._attacked: dict[str, Attacked | DeploykitError] = {}
        self._running = running
        self._state = state
        self._metric = metric
        self._racing = racing
        self._pause = pause
        self._steps: dict[str, BuildStep] = {}
        self._built: dict[str, Built] = {}
        self._broken: dict[str, tuple[DeploykitError, str]] = {}
        self._started: set[str] = set()
        self._evaluated: dict[str, dict[str, Any] | DeploykitError] = {}
        self._expected: set[str] = set()
        self._counted: set[str] = set()
        self._original = ""
        self._first = ""
        #: Finished before the candidates at hand were known: a race must not depend on which of them is done first.
        self._rivals: frozenset[str] = frozenset()
        self._flying: dict[Future[dict[str, Any]], _Work] = {}
        self.judge: Judge | None = None

    def run(self, candidates: list[Planned], steps: dict[str, BuildStep], ahead: Sequence[Planned] = ()) -> None:
        """Build and evaluate candidates.

        Args:
            candidates: In order of importance.
            steps: The build steps they name.
            ahead: Candidates of the next run, whose build steps are begun where there is room; what is in progress when
                ``candidates`` are done is left to that run.

        Raises:
            Cancelled: The user cancelled.
        """
        self._expect([*candidates, *ahead], steps)
        waiting = list(candidates)
        while waiting or (self._flying and not ahead):
            self._pause()
            for planned in list(waiting):
                if not self._room():
                    break
                if self._advance(planned):
                    waiting.remove(planned)
            for planned in ahead if waiting else ():
                if not self._room():
                    break
                self._source(planned)
            finished, _ = wait(self._flying, timeout=0.2, return_when=FIRST_COMPLETED)
            for future in finished:
                self._finish(self._flying.pop(future), future)

    def artifact(self, planned: Planned) -> Built:
        """The artifact of a candidate that was built."""
        return self._built[(GIVEN, *planned.artifact_steps)[-1]]

    def opened(self, planned: Planned) -> Built:
        """What the runtime opens: the artifact, or what it has compiled of it."""
        return self._built[(GIVEN, *planned.steps)[-1]]

    def _expect(self, candidates: list[Planned], steps: dict[str, BuildStep]) -> None:
        self._steps |= steps
        after: dict[str, tuple[str, ...]] = {GIVEN: ()}
        targets: dict[str, Target] = {}  # of each evaluation
        for planned in candidates:
            chain = (GIVEN, *planned.steps)
            after |= {step: (source,) for source, step in pairwise(chain)}
            unit = self._unit(planned)
            self._first = self._first or unit
            after.setdefault(unit, (chain[-1], self._first))  # others are compared with the original model
            targets.setdefault(unit, planned.candidate.target)
        expected = self._state.durations.units
        for kind, units in (("step", {GIVEN, *steps}), ("evaluation", targets.keys())):
            new = units - self._expected
            self._expected |= new
            self._state.expect(len(new))
            if new and kind == "evaluation":
                self._rivals = frozenset(row.key for row in self._state.rows if row.status == "measured")
            for unit in (u for u in after if u in new):
                rest = tuple(other for other in after[unit] if other != unit)
                takes = expected.evaluation(targets[unit]) if unit in targets else expected.step(self._steps.get(unit))
                self._state.durations.expect(unit, takes, rest)

    def _count(self, unit: str, seconds: float | None) -> None:
        """A unit is done; ``seconds`` is None when it was found finished."""
        if unit not in self._counted:
            self._counted.add(unit)
            built = self._built.get(unit)
            self._state.durations.finish(unit, seconds, built.size_bytes if built else 0)
            self._state.finish(seconds)

    def _give_up(self, planned: Planned) -> None:
        """Expect nothing more of a candidate that cannot be built."""
        units = {*planned.steps, self._unit(planned)} - self._counted - self._built.keys()
        self._counted |= units
        for unit in units:
            self._state.durations.finish(unit)
            self._state.expect(-1)

    def _unit(self, planned: Planned) -> str:
        """What is evaluated once: an artifact on a runtime's device."""
        target = planned.candidate.target
        return f"unit {planned.steps[-1] if planned.steps else ''} {target.runtime} {target.device} {target.batch_size}"

    def _room(self) -> bool:
        return len(self._flying) <= self._running.slots  # one more than slots, so that none waits for the driver

    # -- one candidate ----------------------------------------------------------------------------------------------

    def _advance(self, planned: Planned) -> bool:
        """Start the candidate's next piece of work if it can start; True when nothing is left to do for it."""
        built = self._source(planned)
        if built is None:
            return self._state.row(planned.key).status == "failed"
        key = self._workshop.evaluation_key(built, planned.candidate.target)
        race = self._race(planned)
        record = self._evaluated.get(key) or self._workshop.evaluated(key, race)
        if record is None:
            if key not in self._started and self._room():
                self._started.add(key)
                doing = f"evaluating {planned.label} on {RUNTIMES.get(planned.candidate.target.runtime).label}"
                future = self._workshop.start_evaluation(
                    built, planned.opened_as, planned.candidate.target, self._original, race, self._reporter(doing)
                )
                self._flying[future] = _Work("evaluation", key, doing, time.monotonic(), unit=self._unit(planned))
                self._state.durations.begin(self._unit(planned))
            return False
        self._count(self._unit(planned), None)
        attacked: Attacked | DeploykitError | None = None
        if self._attacks is not None and not isinstance(record, DeploykitError) and not record.get("stopped"):
            attacked = self._attack(planned, built, key, self._attacks)
            if attacked is None:
                return False
        self._score(planned, key, record, None if isinstance(attacked, DeploykitError) else attacked)
        return True

    def _attack(
        self, planned: Planned, built: Built, evaluation: str, attacks: Attacks
    ) -> Attacked | DeploykitError | None:
        """What attacks on a candidate have found, or why they failed; None while they are to be done."""
        attacks.check()
        if attacks.made is None:
            if attacks.made_key not in self._started and self._room():
                self._started.add(attacks.made_key)
                self._fly("attacks", attacks.made_key, "attacking the original model", attacks.start_making())
            return None
        key = attacks.key(evaluation)
        found = self._attacked.get(key) or attacks.found(key)
        if found is None and key not in self._started and self._room():
            self._started.add(key)
            future = attacks.start(built, planned.opened_as, planned.candidate.target, key)
            self._fly("attack", key, f"attacking {planned.label}", future)
        return found

    def _fly(self, kind: str, key: str, words: str, future: Future[dict[str, Any]]) -> None:
        self._flying[future] = _Work(kind, key, words, time.monotonic())
        self._state.say("accuracy", words)

    def _source(self, planned: Planned) -> Built | None:
        """What the candidate's runtime opens, None while it is being built or when it cannot be."""
        source: Built | None = None
        for identity in (GIVEN, *planned.steps):
            if identity not in self._built and identity not in self._broken:
                self._begin_step(self._steps.get(identity), identity, source)
            if identity in self._broken:
                self._state.failed(planned.key, *self._broken[identity])
                self._give_up(planned)
                return None
            if identity not in self._built:
                return None  # nothing begins before the original model has run: conversions are compared with it
            source = self._built[identity]
        if source is None:
            return None
        compiled = source.path if planned.compiled else ""
        self._state.built(planned.key, self.artifact(planned), self._notes(planned), compiled)
        return source

    def _notes(self, planned: Planned) -> dict[str, Any]:
        """What the candidate's build steps reported, by adapter."""
        return reported(
            (self._steps[key], {name: note for name, note in self._built[key].notes.items() if name != UNITS})
            for key in planned.steps
        )

    def _race(self, planned: Planned) -> Race | None:
        if self._racing.max_drop is None or self.judge is None:
            return None
        target, row = planned.candidate.target, self._state.row(planned.key)
        others = [
            r for r in self._state.rows
            if r.key in self._rivals and r.candidate.target == target and r.key != planned.key
        ]  # fmt: skip
        rival = dominating(others, row, self._racing.cost, size_bytes=self.artifact(planned).size_bytes)
        if rival is None or rival.measurement is None:
            return self.judge.race(self._racing.max_drop)
        return self.judge.race(self._racing.max_drop, rival.key, rival.measurement.score.drop.high)

    # -- units of work ----------------------------------------------------------------------------------------------

    def _begin_step(self, step: BuildStep | None, identity: str, source: Built | None) -> None:
        if identity in self._started:
            return
        found = self._workshop.built(step)
        if found is not None:
            self._started.add(identity)
            self._keep_step(step, found)
            self._count(identity, None)
        elif self._room():
            self._started.add(identity)
            path = self._workshop.path(source) if source else Path(self._workshop.model.path)
            words = step.words if step else "running the original model"
            future = self._workshop.start_step(step, path, self._reporter(words))
            self._flying[future] = _Work("step", identity, words, time.monotonic(), step)
            self._state.durations.begin(identity)
            self._state.say("build", words)

    def _keep_step(self, step: BuildStep | None, found: Built | DeploykitError) -> None:
        identity = step.key if step else GIVEN
        if isinstance(found, DeploykitError):
            self._broken[identity] = (found, f"build: {step.words if step else 'running the original model'}")
        else:
            self._built[identity] = found

    def _finish(self, work: _Work, future: Future[dict[str, Any]]) -> None:
        seconds = _seconds(future, time.monotonic() - work.began)
        if work.kind == "step":
            self._keep_step(work.step, self._workshop.finish_step(work.step, future))
            self._count(work.key, seconds)
            self._state.say("build", f"built: {work.words}" if work.step else "ran the original model")
        elif self._attacks is not None and work.kind == "attacks":
            self._attacks.finish_making(future)
        elif self._attacks is not None and work.kind == "attack":
            self._attacked[work.key] = self._attacks.finish(work.key, future)
        else:
            self._evaluated[work.key] = self._workshop.finish_evaluation(work.key, future)
            self._count(work.unit, seconds)
            self._state.say("accuracy", work.words)

    def _score(
        self, planned: Planned, key: str, record: dict[str, Any] | DeploykitError, attacked: Attacked | None = None
    ) -> None:
        if isinstance(record, DeploykitError):
            self._state.failed(planned.key, record, "accuracy")
            return
        self._state.lost(planned.key, record.get("lost_workers", ()))
        if self.judge is None:  # the first candidate is the baseline
            self._original = key
            self.judge = Judge(self._workshop, key, self._metric)
        built = self.artifact(planned)
        seconds = {"build": sum(self._built[k].seconds for k in planned.artifact_steps)}
        if planned.compiled:
            seconds["compile"] = self.opened(planned).seconds
        seconds["accuracy"] = record.get("seconds", 0.0)
        if record.get("stopped"):
            found = Stopped.from_json(record["stopped"])
            self._state.stopped(planned.key, built, self.judge.stopped(found), seconds, self._why(found))
            return
        try:
            scored = self.judge.judge(
                key, record, converted=not planned.candidate.recipe.steps, attacked=attacked,
                attacked_groups=self._attacks.groups if self._attacks else None,
            )  # fmt: skip
            self._state.scored(planned.key, built, scored, seconds, final=not self._timed)
        except DeploykitError as error:
            self._state.failed(planned.key, error, "accuracy")

    def _why(self, found: Stopped) -> str:
        lost = f"loses more than {100 * found.low:.1f} pp (95 % confidence, from {found.examples:,} examples)"
        if found.rival:
            return f"{lost}: {found.rival} costs less and loses less"
        return f"{lost}; the limit is {limit(self._racing.max_drop or 0)}"

    def _reporter(self, words: str) -> Callable[[float, float, str], None]:
        def report(done: float, total: float, what: str) -> None:
            share = f" · {done:.0f} of {total:.0f} {what}" if total else f" · {what}"
            self._state.say(self._state.progress.phase, words + share)

        return report


def _seconds(future: Future[dict[str, Any]], waited: float) -> float | None:
    """Time of a task in its child; None when it failed or was stopped early: that says nothing about the next one."""
    if future.cancelled() or future.exception() is not None or future.result().get("stopped"):
        return None
    return float(future.result().get("seconds", waited))

"""A pass over a model's layers: a technique is applied to one of them at a time, and to all but one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any

from deploykit.core.candidate import Recipe, Step
from deploykit.core.errors import CandidateError
from deploykit.core.result import Result
from deploykit.core.space import Space
from deploykit.engines._contract import Running
from deploykit.metrics._choose import MetricLike
from deploykit.metrics._contract import METRICS
from deploykit.planning.finished import Built
from deploykit.planning.planned import Planned
from deploykit.planning.planner import make
from deploykit.planning.routes import Routes
from deploykit.planning.steps import BuildStep, tools
from deploykit.reporting.events import Progress
from deploykit.reporting.evidence.naming import users
from deploykit.reporting.evidence.sensitivity import WORTH, Sensitivity
from deploykit.reporting.evidence.sensitivity_rows import Damage
from deploykit.sweeping.evaluator import Evaluator, Racing
from deploykit.sweeping.questions import LayerGroup, Question, grouped
from deploykit.sweeping.state import State
from deploykit.sweeping.workshop import Workshop
from deploykit.transforms._contract import TRANSFORMS, UNITS

#: Kind of the store's records that hold finished passes.
RECORD = "sensitivity"
#: Candidates whose artifacts are on disk at once.
_CHUNK = 16
_GIVEN = "\0"


class PassState(State):
    """Rows of a pass that belongs to a sweep: its progress is the sweep's."""

    def __init__(self, sweep: State, context: str) -> None:
        super().__init__(sweep.store, context, self._forward, sweep.durations)
        self._sweep = sweep

    def expect(self, count: int) -> None:
        """More units of work are known."""
        super().expect(count)
        self._sweep.expect(count)

    def finish(self, seconds: float | None) -> None:
        """One unit is done."""
        super().finish(seconds)
        self._sweep.finish(seconds)

    def _estimate(self, progress: Progress) -> tuple[float | None, float]:
        """The sweep's: it expects this work as well."""
        del progress
        known = self._sweep.progress
        return known.seconds_left, known.share

    def _forward(self, progress: Progress) -> None:
        self._sweep.say(progress.phase, f"sensitivity: {progress.doing}")


class Pass:
    """One pass. Its artifacts and outputs are removed when they are scored: what it leaves are rows.

    Args:
        question: What to find out.
        routes: How candidates are built.
        workshop: Starts and keeps the work.
        running: The engine.
        state: Gets rows and progress, under a context of its own.
        metric: The metric the user asked for.
    """

    def __init__(
        self, question: Question, routes: Routes, workshop: Workshop, running: Running, state: State, metric: MetricLike
    ) -> None:
        self._question = question
        self._routes = routes
        self._workshop = workshop
        self._running = running
        self._state = state
        self._metric = metric
        self._technique = TRANSFORMS.get(question.technique)
        self._evaluator: Evaluator | None = None
        self._keys: dict[str, str] = {}
        self._problems: dict[str, str] = {}
        self._groups: list[LayerGroup] = []
        self._baseline: Planned | None = None
        self._finished = False

    def run(self, pause: Callable[[], None]) -> Sensitivity:
        """Measure; returns the result, which is also in the store, even when this ends early.

        Args:
            pause: Returns when work may continue; raises `Cancelled`.

        Raises:
            Cancelled: The user cancelled; finished rows are kept.
            CandidateError: The original model, or with the technique done to all of it, cannot be used.
        """
        self._evaluator = Evaluator(
            self._workshop, self._running, self._state, self._metric, Racing(), pause, timed=False
        )
        kept = {p.name for p in (self._workshop.store.path / "outputs").glob("*")}
        shared, units = self._whole()
        kept |= {p.name for p in (self._workshop.store.path / "outputs").glob("*")}
        new: list[Planned] = []
        limit = self._question.limit
        try:
            self._groups = grouped(units, self._question.by, limit)
            self._run(shared, new)
            while self._to_blame():
                limit += self._question.limit
                self._groups = grouped(units, self._question.by, limit)
                self._run(shared, new)
            self._finished = True
        finally:
            self._drop_outputs(new, kept)
            found = self.result()
            self._workshop.store.put_record(RECORD, self._question.record(self._state.context), found.to_json())
        return found

    # -- the work ---------------------------------------------------------------------------------------------------

    def _whole(self) -> tuple[set[str], list[list[Any]]]:
        """The original model and the technique done to all of it; gives their build steps, and what was changed."""
        assert self._evaluator is not None
        plain = self._recipe(str(self._question.parameters.get(self._technique.excluding, "")))
        planned, steps = self._plan([plain])
        for candidate in planned:
            self._state.add(candidate, len(self._keys))
            self._keys[_text(candidate, self._technique.excluding)] = candidate.key
        self._workshop.save_data()
        for candidate in sorted(planned, key=lambda c: len(c.candidate.recipe.steps)):
            self._evaluator.run([candidate], {key: steps[key] for key in candidate.steps})
            row = self._state.row(candidate.key)
            if row.failure is not None:
                raise CandidateError(f"{row.label}: {row.failure.cause}", remedy=row.failure.remedy)
            if not candidate.candidate.recipe.steps:
                self._baseline = candidate
        whole = next((c for c in planned if c.candidate.recipe.steps), None)
        if whole is None:
            raise CandidateError(self._problems[""])
        units = [unit for key in whole.steps for unit in self._notes(steps[key]).get(UNITS, [])]
        if not units:
            raise CandidateError(f"{self._technique.label} changed no layer of the model.")
        return set(steps), units

    def _notes(self, step: BuildStep) -> dict[str, Any]:
        found = self._workshop.built(step)
        return found.notes if isinstance(found, Built) else {}

    def _to_blame(self) -> bool:
        """Whether the layers that were not measured one by one do harm."""
        found = self.result()
        whole = found.whole.fidelity.value if found.whole else 0.0
        return any(row.kind == "others" and found.harm(row) > WORTH * whole for row in found.rows)

    def _run(self, shared: Collection[str], new: list[Planned]) -> None:
        """Measure all groups that are not; ``new`` gets the candidates that were evaluated."""
        assert self._evaluator is not None
        wanted = dict.fromkeys(text for group in self._groups if not group.whole for text in self._texts(group))
        planned, steps = self._plan([self._recipe(text) for text in wanted if text not in self._keys])
        candidates = [c for c in planned if c.candidate.recipe.steps]
        for candidate in candidates:
            self._state.add(candidate, len(self._keys))
            self._keys[_text(candidate, self._technique.excluding)] = candidate.key
        left = [c for c in candidates if self._state.row(c.key).status != "measured"]
        new += left
        done = len(candidates) - len(left)
        self._state.expect(done)
        for _ in range(done):
            self._state.finish(None)
        for start in range(0, len(left), _CHUNK):
            chunk = left[start : start + _CHUNK]
            own = {key: steps[key] for c in chunk for key in c.steps}
            made = [key for key, step in own.items() if key not in shared and self._workshop.built(step) is None]
            try:
                self._evaluator.run(chunk, own)
            finally:
                for key in made:
                    shutil.rmtree(self._workshop.store.folder("steps", key), ignore_errors=True)

    def _drop_outputs(self, candidates: Iterable[Planned], kept: Collection[str]) -> None:
        assert self._evaluator is not None
        for candidate in candidates:
            if self._state.row(candidate.key).measurement is None:
                continue
            built: Built = self._evaluator.opened(candidate)
            key = self._workshop.evaluation_key(built, candidate.candidate.target)
            for split in ("evaluation", "test"):
                path = self._workshop.outputs_path(key, split)
                if path.name not in kept:
                    path.unlink(missing_ok=True)

    # -- recipes ----------------------------------------------------------------------------------------------------

    def _recipe(self, text: str) -> Recipe:
        given = {**self._technique.single(self._question.parameters), self._technique.excluding: text}
        return Recipe((Step(self._technique.name, given),))

    def _texts(self, group: LayerGroup) -> tuple[str, str]:
        """Exclusions for nothing but a group, and for all but it, in their canonical form."""
        name = self._technique.excluding
        base = [word for word in str(self._question.parameters.get(name, "")).split(",") if word.strip()]
        texts = (", ".join([*base, *(f"!{word}" for word in group.words)]), ", ".join([*base, *group.words]))
        only, all_but = (str(self._technique.complete({name: text})[name]) for text in texts)
        return only, all_but

    def _plan(self, recipes: list[Recipe]) -> tuple[list[Planned], dict[str, BuildStep]]:
        """Candidates, the original model first."""
        space = Space(tuple(recipes), (self._question.target,))
        plan = make(self._routes, space)
        for left in plan.left_out:
            self._problems[""] = f"{left.label}: {left.reason}"
        runtime = self._question.target.runtime
        self._running.require({self._question.target.device}, tools(plan.steps.values(), {runtime}))
        return list(plan.candidates), plan.steps

    # -- the result -------------------------------------------------------------------------------------------------

    def result(self) -> Sensitivity:
        """What is known so far."""
        question, excluding = self._question, self._technique.excluding
        assert self._evaluator is not None
        assert self._evaluator.judge is not None
        assert self._baseline is not None
        metric = self._evaluator.judge.metric
        rows = {row.key: row for row in self._state.rows}
        base = str(self._technique.complete(question.parameters)[excluding])
        whole = self._damage(rows[self._keys[base]]) if base in self._keys else None
        zero = self._damage(rows[self._baseline.key])
        measurement = rows[self._baseline.key].measurement
        found = []
        for group in self._groups:
            if group.whole:
                found.append(replace(group.row, only=whole, all_but=zero))
                continue
            known = [rows.get(self._keys.get(text, "")) for text in self._texts(group)]
            damages = [self._damage(row) if row else None for row in known]
            causes = dict.fromkeys(row.failure.cause for row in known if row and row.failure)
            found.append(replace(group.row, only=damages[0], all_but=damages[1], problem="; ".join(causes)))
        single = [place for place, row in enumerate(found) if row.kind == "layer"]
        own = users(self._workshop.model.layers, [found[place].name for place in single])
        for place, name in zip(single, own, strict=True):
            found[place] = replace(found[place], own=name)
        parameters = {k: v for k, v in question.parameters.items() if k != excluding or v}
        return Sensitivity(
            question.technique, parameters, question.target, metric.name, metric.relative,
            measurement.score.examples if measurement else 0, whole, tuple(found), excluding,
            sum(g.row.weights for g in self._groups if g.row.kind != "type")
            or sum(g.row.weights for g in self._groups),
            self._finished, self._workshop.model.digest,
            self._workshop.store.relative(self._workshop.data_folder), time.time(),
        )  # fmt: skip

    @staticmethod
    def _damage(row: Result) -> Damage | None:
        if row.measurement is None or row.status != "measured":
            return None
        scores = row.measurement.scores
        free = [s.metric for s in scores if s.metric in METRICS.names() and METRICS.get(s.metric).truth == "original"]
        fidelity = next((name for name in free if not METRICS.get(name).binary), scores[0].metric)
        others = [name for name in free if name != fidelity]
        return Damage.of(row.key, scores, fidelity, others, row.measurement.size_bytes)


def _text(planned: Planned, excluding: str) -> str:
    """What a candidate leaves out; a name no layer has for the original model."""
    steps = planned.candidate.recipe.steps
    return str(steps[0].parameters.get(excluding, "")) if steps else _GIVEN

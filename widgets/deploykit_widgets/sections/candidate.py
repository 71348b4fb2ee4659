"""Candidate: verdict, causes, answers, classes, weights, sensitivity, recipe and graphs, computed on request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import deploykit as dk
from deploykit.core.errors import SettingError
from deploykit.reporting.events import Progress
from deploykit.reporting.report import Choice, Report
from deploykit_widgets.actions.commands import Commands
from deploykit_widgets.actions.long_work import stop
from deploykit_widgets.answers import Command, Later
from deploykit_widgets.evidence import candidate as evidence
from deploykit_widgets.sections._contract import Panel
from deploykit_widgets.state import State

_PROGRESS_EVERY_S = 0.25


class CandidateSection(Panel):
    """Details of single candidates. Only what is shown is computed, each part in its own thread."""

    name = "candidate"
    order = 34
    fields = ("report", "best", "goal", "measuring", "space_choice")

    def __init__(self, commands: Commands) -> None:
        super().__init__(commands)
        self._memory = evidence.Memory()
        self._passes = 0
        self._diffing = threading.Event()

    def value(self) -> Any:
        """See ``ICandidate`` in candidate/panel.tsx."""
        state = self._commands.state
        report = state.report
        if report is None:
            return {"best": "", "baseline": "", "metric": "", "relative": False, "measuring": None, "added": 0}
        return {
            "best": state.best.key if state.best else "",
            "baseline": report.baseline,
            "metric": report.metric.replace("_", " "),
            "relative": report.relative,
            "limit": 100 * state.goal.max_drop,
            "measuring": state.measuring,
            "added": len(state.space_choice.extra) if state.space_choice else 0,
        }

    def commands(self) -> Mapping[str, Command]:
        """Evidence by candidate key, and the actions it offers."""
        return {
            "candidate_facts": self._facts,
            "candidate_flips": self._flips,
            "candidate_sample": self._sample,
            "candidate_try": self._try,
            "candidate_classes": self._classes,
            "candidate_calibration": self._calibration,
            "candidate_rests": self._rests,
            "candidate_weights": self._weights,
            "candidate_recipe": self._recipe,
            "candidate_graphs": self._graphs,
            "candidate_diff": self._diff,
            "candidate_diff_cancel": self._cancel_diff,
            "candidate_keep_float": self._keep_float,
            "candidate_sensitivity": self._sensitivity,
            "candidate_measure": self._measure,
            "candidate_leave_out": self._leave_out,
        }

    # -- looking ----------------------------------------------------------------------------------------------------

    def _facts(self, key: str, other: str = "", **_stamp: Any) -> Later:
        a, b = self._choice(key), self._choice(other) if other else None
        return Later("facts", lambda: evidence.facts(a, b))

    def _flips(
        self, key: str, against: str = "", group: str = "", offset: int = 0, count: int = 10, **_stamp: Any
    ) -> Later:
        choice, other = self._choice(key), self._choice(against) if against else None
        known = ("flips", *evidence.identity(choice), against)

        def work() -> Any:
            found = self._memory.get(known, lambda: choice.flips(other))
            return evidence.flips(choice, found, group, int(offset), int(count))

        return Later("flips", work)

    def _sample(self, key: str, example: int) -> Later:
        choice = self._choice(key)
        _check_example(choice, example)
        known = ("flips", *evidence.identity(choice), "")

        def work() -> Any:
            contract = choice.report.contract
            boxed = contract.scored.kind == "boxes" or contract.labels.kind == "positions"
            found = self._memory.get(known, choice.flips) if boxed else None
            return evidence.sample(choice, int(example), found=found)

        return Later("sample", work)

    def _try(self, key: str, example: int, against: str = "") -> Later:
        choice = self._choice(key)
        _check_example(choice, example)
        other = self._choice(against or choice.report.baseline)
        return Later("try", lambda: evidence.tried(choice, other, int(example)))

    def _classes(self, key: str, against: str = "", **_stamp: Any) -> Later:
        choice, other = self._choice(key), self._choice(against) if against else None
        known = ("classes", *evidence.identity(choice), against)
        return Later("classes", lambda: self._memory.get(known, lambda: evidence.classes(choice, other)))

    def _calibration(self, key: str, against: str = "", **_stamp: Any) -> Later:
        choice, other = self._choice(key), self._choice(against) if against else None
        known = ("calibration", *evidence.identity(choice), against)
        return Later("calibration", lambda: self._memory.get(known, lambda: evidence.calibration(choice, other)))

    def _rests(self, key: str, example: int, against: str = "") -> Later:
        choice, other = self._choice(key), self._choice(against) if against else None
        _check_example(choice, example)
        known = ("rests", *evidence.identity(choice), against, int(example))
        return Later("rests", lambda: self._memory.get(known, lambda: evidence.rests(choice, other, int(example))))

    def _weights(self, key: str, **_stamp: Any) -> Later:
        choice = self._choice(key)
        known = ("weights", *evidence.identity(choice))
        return Later("weights", lambda: self._memory.get(known, lambda: evidence.weights(choice)))

    def _recipe(self, key: str, **_stamp: Any) -> Any:
        return evidence.recipe(self._choice(key))

    def _graphs(self, key: str, **_stamp: Any) -> Any:
        return evidence.graphs(self._choice(key))

    def _diff(self, key: str, **_stamp: Any) -> Later:
        """The graphs as one diff; a later request, and closing the Workbench, stop an earlier one."""
        choice, cancel = self._choice(key), threading.Event()
        self._cancel_diff()
        self._diffing = cancel
        known = ("diff", *evidence.identity(choice))

        def work() -> Any:
            ends = self._commands.ends
            ends.keep(cancel, cancel.set)
            try:
                return evidence.graph_diff(self._memory.get(known, lambda: choice.graph_diff(cancel=cancel)))
            finally:
                ends.drop(cancel)

        return Later("diff", work)

    def _keep_float(self, key: str, row: int) -> str:
        """Add the recipe to the space that leaves a node of the diff in float."""
        choice = self._choice(key)
        diff = self._memory.get(("diff", *evidence.identity(choice)), choice.graph_diff)
        if not 0 <= int(row) < len(diff):
            raise SettingError(f"There is no node {row} in the diff.", remedy=f"choose one from 0 to {len(diff) - 1}.")
        recipe = diff.keeping_float(diff.rows[int(row)])
        if not self._commands.add_recipe(recipe):
            return f"Already in the space: {recipe}."
        return f"Added to the space: {recipe}. Run the sweep to try it."

    def _cancel_diff(self) -> None:
        self._diffing.set()

    def _choice(self, key: str) -> Choice:
        state = self._commands.state
        if state.report is None:
            raise SettingError("There are no results yet.", remedy="run the sweep.")
        if state.best is not None and state.best.key == key:
            return state.best  # it knows why it was chosen
        return state.report.choice_for(key, minimize=state.goal.minimize, max_drop=state.goal.max_drop)

    # -- sensitivity ------------------------------------------------------------------------------------------------

    def _sensitivity(self, **_stamp: Any) -> Later:
        state = self._commands.state
        report = _report(state)
        added = state.space_choice.extra if state.space_choice else ()

        def work() -> Any:
            return evidence.sensitivity(report, lambda level: self._seconds(report, level), added)

        return Later("sensitivity", work)

    def _seconds(self, report: Report, level: int) -> float | None:
        space = report.sensitivity_table().to_measure(level)
        model, data, store = report.model, report.data, report.path
        # Finished measurements are not repeated, and they show how long such work takes.
        ended = (self._passes, self._commands.state.took_s)
        known = ("seconds", *evidence.origin(report), *(r.key for r in space.recipes), *space.targets, *ended)
        options: dict[str, Any] = {"store": store, "launches": 0, "check": False, **report.declared}
        plan: Callable[[], dk.Plan] = lambda: dk.plan(model, data, space, **options)  # noqa: E731  # one use
        return self._memory.get(known, lambda: evidence.planned_seconds(plan))

    def _measure(self, level: int) -> Later:
        """Measure a level; the answer is sent when it is done."""
        commands = self._commands
        state = commands.state
        report = _report(state)
        if state.sweeping:
            raise SettingError("A sweep is running on the store.", remedy="wait for it, or cancel it.")
        if state.measuring is not None:
            raise SettingError("Another level is being measured.", remedy="wait for it.")
        column = report.sensitivity_table().levels[int(level)]

        def tell(progress: Progress) -> None:
            share = {"level": int(level), "label": column.label, "done": progress.done, "total": progress.total}
            commands.desk.at_most_every(_PROGRESS_EVERY_S, "measuring", lambda: self._tell(share))

        def work() -> Any:
            try:
                handle = dk.start_sensitivity(
                    report.model, report.data, column.technique, parameters=column.parameters,
                    runtime=column.target.runtime, store=report.path, by="layer", progress=tell,
                    **report.declared,
                )  # fmt: skip
                commands.ends.keep(handle, lambda: stop(handle))
                try:
                    handle.wait()
                finally:
                    commands.ends.drop(handle)
            finally:
                commands.desk.at_most_every(0, "measuring", self._measured)
            return True

        state.change(measuring={"level": int(level), "label": column.label, "done": 0, "total": 0})
        return Later("measure", work)

    def _measured(self) -> None:
        self._passes += 1
        self._commands.state.change(measuring=None)

    def _tell(self, share: dict[str, Any]) -> None:
        if self._commands.state.measuring is not None:
            self._commands.state.change(measuring=share)

    def _leave_out(self, layer: int, level: int) -> str:
        """Add a recipe that leaves one layer out to the space; a second call removes it again."""
        commands, state = self._commands, self._commands.state
        table = _report(state).sensitivity_table()
        recipe = table.leaving_out(int(layer), int(level))
        words = f"{table.levels[int(level)].label} without {table.layers[int(layer)]}"
        if state.space_choice is not None and any(r.key == recipe.key for r in state.space_choice.extra):
            commands.remove_recipe(recipe.key)
            return f"Removed from the space: {words}."
        if not commands.add_recipe(recipe):
            return f"Already in the space: {words}."
        return f"Added to the space: {words}. Run the sweep to try it."


def _report(state: State) -> Report:
    if state.report is None:
        raise SettingError("There are no results yet.", remedy="run the sweep.")
    return state.report


def _check_example(choice: Choice, example: int) -> None:
    count = len(choice.report.data.splits["evaluation"])
    if not 0 <= int(example) < count:
        raise SettingError(f"There is no example {example}.", remedy=f"choose one from 0 to {count - 1}.")


ADAPTER = CandidateSection

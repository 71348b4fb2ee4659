"""What the buttons do: calls of the public API, each in its own thread, with results shown through the state."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import deploykit as dk
from deploykit.core.candidate import Recipe
from deploykit.core.errors import CandidateError, DatasetError, SettingError, StoreError
from deploykit.core.registry import registry
from deploykit.core.settings.option import options_of
from deploykit.core.settings.options import SearchOptions
from deploykit.reporting.events import OnProgress, Progress
from deploykit.reporting.report import Choice
from deploykit_widgets.actions.inputs import Inputs, being_read
from deploykit_widgets.actions.leaving import Leaving
from deploykit_widgets.actions.long_work import stop
from deploykit_widgets.actions.one import One
from deploykit_widgets.desk import Desk
from deploykit_widgets.space.choice import SpaceChoice
from deploykit_widgets.space.options import arguments, value_of, with_value
from deploykit_widgets.state import Goal, State

if TYPE_CHECKING:
    from deploykit_widgets.space.where import Device

#: Seconds between messages to the browser about progress, and about new results.
_PROGRESS_EVERY_S = 0.1
_RESULTS_EVERY_S = 0.4
#: What defines a sweep and how it ends: when one of these changes, the error of the last sweep is cleared.
_INPUTS = ("model", "data", "space")
_SETTINGS = (*_INPUTS, "declared", "options")
#: Seconds between plans while controls move.
_PLAN_EVERY_S = 0.15


class Commands(Inputs, Leaving):
    """Everything a user can do. Call its methods on the desk's thread.

    Args:
        state: The state they change.
        desk: Runs long work.
    """

    def __init__(self, state: State, desk: Desk) -> None:
        super().__init__(state, desk)
        self.error: BaseException | None = None
        self.ended = threading.Event()
        self._began = 0.0
        self._ticket = 0
        self._planning = False
        self._wanted: str = ""
        self._one: One | None = None
        state.observe(self.plan_soon, "model", "data", "space", "goal", "options", "declared")
        state.observe(self.find_earlier, "model", "data")
        state.observe(self._find_obstacles, "model", "data")
        state.observe(self._choose, "report", "goal", "picked")

    # -- plan -------------------------------------------------------------------------------------------------------

    def plan_soon(self) -> None:
        """Plan again; until that is done, `State.planning` says that the plan is out of date."""
        self._ticket += 1
        state = self.state
        if state.model is None or state.data is None or state.space is None:
            state.problem("plan", None)
            state.change(plan=None, planning=False, misfit=None)
            return
        state.change(planning=True)
        self.desk.at_most_every(_PLAN_EVERY_S, "plan", self.plan)

    def plan(self) -> None:
        """Find out what would run."""
        state, ticket = self.state, self._ticket
        model, data, space = state.model, state.data, state.space
        if model is None or data is None or space is None or self._planning:
            return  # one at a time: the next one begins when the present one is done
        self._planning = True

        def ended(error: BaseException | None, **found: Any) -> None:
            self._planning = False
            if ticket != self._ticket:
                self.plan()
                return
            state.problem("plan", error)
            state.change(planning=False, misfit=error if isinstance(error, DatasetError) else None, **found)

        def done(plan: dk.Plan) -> None:
            ended(None, plan=plan)

        def failed(error: BaseException) -> None:
            ended(error, plan=None)

        store = state.store
        options: dict[str, Any] = {
            **arguments(state.options, state.goal), "max_drop": state.goal.max_drop, **state.declared,
        }  # fmt: skip

        def work() -> dk.Plan:
            try:
                return dk.plan(model, data, space, store=store, **options)
            except StoreError:  # said when the sweep is started
                return dk.plan(model, data, space, **options)

        self.desk.run("plan", work, done, failed)

    # -- space ------------------------------------------------------------------------------------------------------

    def choose_space(self, choice: SpaceChoice) -> None:
        """Use the values of the controls.

        Raises:
            SettingError: They do not define a space.
        """
        state, space = self.state, choice.space
        if choice != state.space_choice:
            state.change(space_choice=choice)
        if space != state.space:
            state.change(space=space)

    def add_recipe(self, recipe: Recipe) -> bool:
        """Try one more recipe; returns False if the space has it already.

        Raises:
            SettingError: It names an unknown technique or parameter, or a bad value.
        """
        for step in recipe.steps:
            registry("deploykit.transforms", "technique").get(step.technique).complete(step.parameters)
        choice = self.state.space_choice or SpaceChoice()
        if recipe.key in {Recipe().key, *(r.key for r in choice.space.recipes)}:
            return False
        self._recipes(choice, (*choice.extra, recipe))
        return True

    def remove_recipe(self, key: str) -> None:
        """Remove an added recipe."""
        choice = self.state.space_choice
        if choice is not None:
            self._recipes(choice, tuple(r for r in choice.extra if r.key != key))

    def _recipes(self, choice: SpaceChoice, recipes: tuple[Recipe, ...]) -> None:
        changed = replace(choice, extra=recipes)
        if self.state.space is None:  # some control is wrong: the space is made when it is right again
            self.state.change(space_choice=changed)
        else:
            self.choose_space(changed)

    def find_devices(self, ask: Callable[[], Mapping[str, Sequence[Device]]]) -> None:
        """Ask the runtimes for their devices."""
        self._long("devices", ask, lambda devices: self.state.change(devices=devices))

    def set_option(self, name: str, value: Any) -> None:
        """Change how the sweep is run.

        Raises:
            SettingError: No such option, or a value it cannot have.
        """
        options = with_value(self.state.options, name, value)
        if options != self.state.options:
            self.state.change(options=options)

    # -- sweep ------------------------------------------------------------------------------------------------------

    def start(self, echo: OnProgress | None = None, one: One | None = None) -> None:
        """Run the sweep; work that is finished in the store is reused.

        Args:
            echo: Also called with all progress, in the sweep's thread.
            one: Run one candidate instead.
        """
        state = self.state
        model, data, space = state.model, state.data, one.space if one else state.space
        if state.sweeping:
            return
        self.handle = None
        self.error = None
        self.ended.clear()
        self._began = 0.0
        self._wanted = ""
        if words := being_read(state):
            self._end(SettingError(words, remedy="run the sweep when it has finished."), until=("busy",))
            return
        if model is None or data is None or space is None:
            missing = "model" if model is None else "data" if data is None else "space that can be run"
            self._end(
                SettingError(f"Nothing to run: there is no {missing}.", remedy="provide what is missing."),
                until=_INPUTS,
            )
            return
        self._began = time.monotonic()
        state.problem("sweep", None)
        state.change(sweep="starting", progress=None)
        self._one = one
        options = arguments(state.options, state.goal)
        if one is not None:
            options = {n: v for n, v in options.items() if n not in options_of(SearchOptions)} | one.options
        options |= state.declared

        def tell(progress: Progress) -> None:
            self._progress(progress)
            if echo is not None:
                echo(progress)

        def work() -> dk.SweepHandle:
            handle = dk.start_sweep(model, data, space, store=state.store, progress=tell, **options)
            self.ends.keep(handle, lambda: stop(handle))
            return handle

        self.desk.run("start", work, self._started, self._end)

    def _started(self, handle: dk.SweepHandle) -> None:
        self.handle = handle
        threading.Thread(target=self._watch, args=(handle,), name="deploykit-watch", daemon=True).start()
        self.state.change(sweep="running")
        if self._wanted == "cancel":
            self.cancel()

    def _watch(self, handle: dk.SweepHandle) -> None:
        try:
            handle.wait()
        except BaseException as error:  # shown in the strip
            caught = error
            self.desk.post(lambda: self._end(caught))
        else:
            self.desk.post(lambda: self._end(None))

    def _progress(self, progress: Progress) -> None:
        """Called in the sweep's thread."""
        self.desk.at_most_every(_PROGRESS_EVERY_S, "progress", lambda: self._show_progress(progress))
        if progress.changed:
            self.desk.at_most_every(_RESULTS_EVERY_S, "results", self.refresh)

    def _show_progress(self, progress: Progress) -> None:
        if self.state.sweeping:
            self.state.change(progress=progress)

    def refresh(self) -> None:
        """Read the results of the running sweep."""
        if self.handle is not None:
            with contextlib.suppress(StoreError):  # the sweep has written nothing yet
                self.state.change(report=self.handle.report)

    def _end(self, error: BaseException | None, until: Iterable[str] = _SETTINGS) -> None:
        state = self.state
        self.ends.drop(self.handle)
        cancelled = self._wanted == "cancel"
        self.error = None if cancelled else error
        took = time.monotonic() - self._began if self._began else 0.0
        try:
            self.refresh()
            state.problem("sweep", self.error, until)
            state.change(sweep="failed" if self.error else "cancelled" if cancelled else "done", took_s=took)
            self.plan_soon()  # what is done is not expected any more
        finally:  # or who waits for it would wait for ever
            self.ended.set()

    def pause(self) -> None:
        """Pause the sweep: start nothing new."""
        if self.state.sweep == "running" and self.handle is not None:
            self.handle.pause()
            self.state.change(sweep="paused")

    def resume(self) -> None:
        """Continue after a pause, or restart a cancelled or failed sweep."""
        if self.state.sweep == "paused" and self.handle is not None:
            self.handle.resume()
            self.state.change(sweep="running")
        elif not self.state.sweeping:
            self.start(one=self._one)

    def again(self, key: str) -> None:
        """Run one candidate again: a failed one is retried, and any other is timed with twice as many launches.

        Raises:
            SettingError: There is no such candidate, a sweep is running, or it already had the most launches possible.
        """
        state = self.state
        if state.report is None or state.sweeping:
            said = "a sweep is running" if state.sweeping else "there are no results yet"
            raise SettingError(f"{said}.", remedy="run the candidate again when the sweep is done.")
        self.start(one=One.of(state.report, key, value_of(state.options, "launches")))

    def cancel(self) -> None:
        """Stop the sweep; finished work is kept."""
        if self.state.sweeping:
            self._wanted = "cancel"
            self.state.change(sweep="cancelling")
            if self.handle is not None:
                self.handle.cancel()

    # -- choosing ---------------------------------------------------------------------------------------------------

    def pick(self, key: str) -> None:
        """Show a candidate as A; "" follows the best so far. If the candidate is B, A and B are swapped."""
        state = self.state
        if key and (state.report is None or state.report.rows.get(key) is None):
            return
        before = state.chosen.key if state.chosen else ""
        shown = key or (state.best.key if state.best else "")
        second = state.second
        if second and second == shown:
            second = before if before != shown else ""
        state.change(picked=key, second=second)

    def compare(self, key: str) -> None:
        """Compare A with another candidate; "" ends the comparison.

        Raises:
            SettingError: The candidate is A.
        """
        state = self.state
        if key and state.chosen is not None and state.chosen.key == key:
            raise SettingError("This candidate is already A.", remedy="choose a different one as B.")
        if not key or (state.report is not None and state.report.rows.get(key) is not None):
            state.change(second=key)

    def set_goal(self, goal: Goal) -> None:
        """Set the goal."""
        if goal != self.state.goal:
            self.state.change(goal=goal)

    def _choose(self) -> None:
        state, goal = self.state, self.state.goal
        best: Choice | None = None
        chosen: Choice | None = None
        if state.report is not None:
            with contextlib.suppress(CandidateError):
                best = state.report.best(minimize=goal.minimize, max_drop=goal.max_drop)
            chosen = best
            if state.picked and state.report.rows.get(state.picked) is not None:
                chosen = state.report.choice_for(state.picked, minimize=goal.minimize, max_drop=goal.max_drop)
        # A follows the best so far, and may have become the candidate it was compared with.
        second = "" if chosen is not None and chosen.key == state.second else state.second
        state.change(best=best, chosen=chosen, second=second)

    def close(self) -> None:
        """Cancel the sweep and stop the server, and wait for both. Call it from any thread."""
        self._wanted = "cancel"
        super().close()

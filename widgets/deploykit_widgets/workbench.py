"""The Workbench: set a goal, watch candidates arrive, and take the winner away as a file, a server or code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploykit.core.errors import Cancelled, SettingError
from deploykit.core.space import Space
from deploykit.reporting.progress import automatic
from deploykit.reporting.report import Choice, Report
from deploykit_widgets import still
from deploykit_widgets.display import Display
from deploykit_widgets.memory import Given, Memory
from deploykit_widgets.rows import RowMaker
from deploykit_widgets.sections._contract import panels
from deploykit_widgets.sections.space import SpaceSection
from deploykit_widgets.sections.sweep import counts
from deploykit_widgets.space.choice import PRESETS
from deploykit_widgets.space.options import with_value
from deploykit_widgets.state import State
from deploykit_widgets.surface import Surface, unattended


class Workbench(Display):
    """The notebook user interface: load, choose a space, sweep, choose a candidate, export and serve it.

    End a cell with the Workbench to show it. All work runs in the background, so the kernel stays free. Without a
    browser (papermill, nbclient), call `run`, which waits for the sweep.

    Args:
        model: From ``dk.load``, or what ``dk.load`` takes; None: a path field is shown.
        data: A Dataset, a pair (x, y), or the path of an ``.npz`` file; None: a path field is shown.
        store: Folder that keeps all results; a second sweep on it does only the new work. None: ``"runs"``.
        space: Name of a preset, a space, or the path of a saved one to begin with.
        launches: Timing launches per session.
        output: As in ``dk.sweep``.
        scores: As in ``dk.sweep``.
        state: As in ``dk.sweep``.
        constants: As in ``dk.sweep``.
        boxes: As in ``dk.sweep``.
        remember: Save selections in the store, and restore them when the same cell is run again. Papermill, nbconvert
            and similar tools always use the arguments of the cell.

    Raises:
        SettingError: An unknown preset, or too few launches.

    Example:
        >>> with dk.Workbench(model, data, store="runs/clicked") as workbench:
        ...     print(workbench.code)
        import deploykit as dk
        ...
    """

    def __init__(
        self,
        model: Any = None,
        data: Any = None,
        store: str | Path | None = None,
        space: str | Path | Space = "quick",
        launches: int = 10,
        *,
        output: str | None = None,
        scores: str | None = None,
        state: Mapping[str, str] | None = None,
        constants: Mapping[str, Any] | None = None,
        boxes: Mapping[str, Any] | None = None,
        remember: bool = True,
    ) -> None:
        if space not in PRESETS:
            space = Space.of(space)  # a saved space; raises for anything else, naming the presets
            if space.name in PRESETS and space == Space.preset(space.name):
                space = space.name
        options = with_value({}, "launches", launches)
        declared = {"output": output, "scores": scores, "state": state, "constants": constants, "boxes": boxes}
        said = {name: value for name, value in declared.items() if value}
        folder = Path(store if store is not None else "runs")
        tab = "model" if model is None else "data" if data is None else "explore"
        super().__init__(State(folder, space, options, declared=said, tab=tab), "sweep")
        rows = RowMaker()
        self._show(rows=lambda: rows.rows_of(self._state.report), row_fields=("report",))
        controls = self._sections["space"]
        assert isinstance(controls, SpaceSection)
        given = Given(model, data, space, launches, said)
        memory = Memory(self._commands, controls, given, on=remember and not unattended())
        self._desk.post(memory.begin)

    def panel(self, name: str) -> Surface:
        """One panel, to show in its own cell; it shares the state of the Workbench.

        Args:
            name: ``"model"``, ``"data"``, ``"space"``, ``"sweep"``, ``"tradeoff"``, ``"candidate"`` or ``"export"``.

        Raises:
            SettingError: There is no such panel.
        """
        names = [panel.name for panel in panels() if panel.alone]
        if name not in names:
            raise SettingError(f"There is no panel {name!r}.", remedy=f"choose one of {', '.join(names)}.")
        return self._surface([name])

    # -- for code ---------------------------------------------------------------------------------------------------

    @property
    def report(self) -> Report | None:
        """The results so far; None before there are any."""
        return self._state.report

    @property
    def choice(self) -> Choice | None:
        """The candidate that is shown: the one the user picked, or the best so far."""
        return self._state.chosen

    def run(self) -> Report:
        """Run the sweep and wait for it, as ``dk.sweep`` does: for notebooks without a browser.

        Interrupting it cancels the sweep and returns the report so far.

        Raises:
            DeploykitError: Model, data or space cannot be used, an error ended the sweep, or the Workbench is closed.
            Cancelled: It was interrupted before there was a report.
        """
        self._check_open()
        self._desk.settle(3600)
        problems = self._state.problems
        for panel in ("model", "data", "space", "plan"):
            if problems.get(panel):
                raise SettingError(problems[panel])
        with automatic(None) as echo:
            self._commands.ended.clear()
            self._check_open()  # from here on `close` ends the wait
            self._desk.post(lambda: self._commands.start(echo))
            try:
                self._commands.ended.wait()
            except KeyboardInterrupt:
                self._desk.post(self._commands.cancel)
                self._commands.ended.wait()
        self._desk.settle()
        if self._commands.error is not None:
            raise self._commands.error
        if self._state.report is None:
            raise Cancelled("The sweep was cancelled before there were any results.", remedy="run it again.")
        return self._state.report

    def close(self) -> None:
        """Cancel the sweep, stop the server and end the background thread. The last state stays readable."""
        self._commands.close()
        super().close()
        self._commands.ended.set()  # nothing else can now

    def _check_open(self) -> None:
        if self._commands.ends.closed:
            raise SettingError("This Workbench is closed.", remedy="create a new one: finished work is in its store.")

    def __enter__(self) -> Workbench:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        measured, failed, total = counts(self._state)
        name = self._state.model.name if self._state.model else "no model"
        return f"Workbench({name!r}, {measured} measured and {failed} failed of {total})"

    def _static(self) -> str:
        """The static form for viewers without widgets: the results or, without results, the plan; and the code."""
        state = self._state
        parts: list[str] = []
        if state.report is not None:
            parts += self._still.results(state.report, state.chosen, still.other_of(state))
        elif state.model is not None:
            parts.append(still.paragraph(state.model))
            if state.plan is not None:
                parts.append(still.code(str(state.plan)))
        parts += [still.paragraph(words, strong=True) for words in state.problems.values() if words]
        return still.document([*parts, still.code(self.code)])

"""What everything shown in a cell has in common: a state, its thread, code, and a form without widgets."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from deploykit_widgets.actions.commands import Commands
from deploykit_widgets.desk import Desk
from deploykit_widgets.sections._contract import SECTIONS
from deploykit_widgets.sections.code import CodeSection
from deploykit_widgets.state import State
from deploykit_widgets.still import Still
from deploykit_widgets.surface import Hub, Rows, Surface, unattended

#: Seconds between updates of what the notebook saves.
_KEEP_EVERY_S = 1.0
#: The state attributes it is made from.
_KEPT = ("model", "data", "plan", "problems", "sweep", "report", "goal", "chosen", "second", "space_choice", "options",
         "artifact", "server")  # fmt: skip


class Display:
    """End a cell with it to show it.

    Args:
        state: What is shown.
        panel: Where problems of its thread are shown.
    """

    def __init__(self, state: State, panel: str) -> None:
        self._state = state
        self._desk = Desk(lambda error: state.problem(panel, error))
        self._commands = Commands(state, self._desk)
        self._still = Still()
        self._panel = panel

    def _show(
        self,
        *panels: str,
        code: type[CodeSection] = CodeSection,
        rows: Callable[[], Rows] = dict,
        row_fields: Sequence[str] = (),
    ) -> None:
        """Show it in the browser.

        Args:
            panels: Names of the panels; none: all sections, in the Workbench.
            code: The section of the script.
            rows: As in `Hub`.
            row_fields: As in `Hub`.
        """
        chosen = [SECTIONS.get(name) for name in ("app", *panels)] if panels else SECTIONS.all()
        self._code = code(self._commands)
        self._sections = {s.name: s(self._commands) for s in chosen if s.name != code.name} | {code.name: self._code}
        self._hub = Hub(self._state, self._desk, self._sections.values(), rows, row_fields)
        self._panels = panels
        self._keeping = self._outdated = False
        self._state.observe(self._keep_soon, *_KEPT)

    def _keep_soon(self) -> None:
        """Update what the notebook saves; not while a sweep runs, whose end does it."""
        if not self._state.sweeping:
            self._desk.at_most_every(_KEEP_EVERY_S, "keep", self._keep)

    def _keep(self) -> None:
        self._outdated = self._keeping
        if self._keeping:  # one at a time: drawing takes a second
            return
        self._keeping = True

        def ended(made: str | BaseException) -> None:
            self._keeping = False
            with self._hub.problems_of("kept", self._panel):
                if isinstance(made, BaseException):
                    raise made
                self._hub.keep(made)
            if self._outdated:
                self._keep_soon()

        self._desk.run("keep", self._static, ended, ended)

    @functools.cached_property
    def widget(self) -> Surface:
        """The whole as an ipywidget, to use in your own layout."""
        return self._surface(self._panels)

    def _surface(self, panels: Sequence[str]) -> Surface:
        surface = Surface(panels, self._static)
        self._hub.add(surface)
        return surface

    @property
    def code(self) -> str:
        """The script for what was clicked."""
        return self._code.script

    def close(self) -> None:
        """End the background thread. The last state stays readable."""
        self._desk.close()

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = {"text/html": self._static()} if unattended() else self.widget._repr_mimebundle_(**options)
        return {**bundle, "text/plain": repr(self)}

    def _static(self) -> str:
        """The HTML that viewers without widgets show."""
        return ""

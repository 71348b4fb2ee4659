"""What all panels need: title, colors, problems and long work in progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from deploykit.core.registry import registry
from deploykit.reporting.views import tradeoff
from deploykit_widgets.actions.commands import Commands
from deploykit_widgets.answers import Command
from deploykit_widgets.sections._contract import Section, tabs

#: State attributes the frame is made from, beside those of the tabs' hints.
_FIELDS = ("model", "problems", "busy", "picked", "second", "tab")


class AppSection(Section):
    """The frame around the panels."""

    name = "app"

    def __init__(self, commands: Commands) -> None:
        super().__init__(commands)
        self._tabs = tabs()
        self.fields = tuple({*_FIELDS, *(name for panel in self._tabs for name in panel.hinted)})

    def value(self) -> Any:
        """See ``IApp`` in protocol.ts."""
        state = self._state
        return {
            "title": state.model_name or "deploykit",
            "tab": self._state.tab,
            "palette": {"light": tradeoff.LIGHT, "dark": tradeoff.DARK},
            "runtimes": [
                {"name": r.name, "label": r.label, "color": min(place, len(tradeoff.LIGHT) - 1)}
                for place, r in enumerate(registry("deploykit.runtimes", "runtime").all())
            ],
            "problems": {panel: words for panel, words in state.problems.items() if words},
            "busy": sorted(state.busy),
            "tabs": [{"name": p.name, "title": p.title, **asdict(p.hint(state))} for p in self._tabs],
            "picked": {"a": state.picked, "b": state.second},
        }

    def commands(self) -> Mapping[str, Command]:
        """Changing the view, which is remembered so that a reloaded page shows it again."""
        return {"show_tab": self._show}

    def _show(self, tab: str) -> None:
        if tab in {panel.name for panel in self._tabs}:
            self._state.change(tab=tab)


ADAPTER = AppSection

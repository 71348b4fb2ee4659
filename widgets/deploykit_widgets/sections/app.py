"""What all panels need: title, colors, problems and long work in progress."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploykit.core.registry import registry
from deploykit.reporting.views import tradeoff
from deploykit_widgets.data.fit import doubtful, fits
from deploykit_widgets.sections.sweep import counts
from deploykit_widgets.state import TABS, State
from deploykit_widgets.surface import Command


class AppSection:
    """The frame around the panels.

    Args:
        state: What is shown.
        tab: First view to show: ``"model"``, ``"data"``, ``"explore"`` or ``"export"``; "" if there are no views.
    """

    name = "app"
    fields = ("model", "data", "report", "plan", "misfit", "server", "artifact", "problems", "busy", "picked",
              "second", "tab")  # fmt: skip

    def __init__(self, state: State, tab: str) -> None:
        self._state = state
        state.change(tab=tab)

    def value(self) -> Any:
        """See ``IApp`` in protocol.ts."""
        state = self._state
        return {
            "title": name_of_model(state) or "deploykit",
            "tab": self._state.tab,
            "palette": {"light": tradeoff.LIGHT, "dark": tradeoff.DARK},
            "runtimes": [
                {"name": r.name, "label": r.label, "color": min(place, len(tradeoff.LIGHT) - 1)}
                for place, r in enumerate(registry("deploykit.runtimes", "runtime").all())
            ],
            "problems": {panel: words for panel, words in state.problems.items() if words},
            "busy": sorted(state.busy),
            "hints": self._hints(),
            "picked": {"a": state.picked, "b": state.second},
        }

    def commands(self) -> Mapping[str, Command]:
        """Changing the view, which is remembered so that a reloaded page shows it again."""
        return {"show_tab": self._show}

    def _show(self, tab: str) -> None:
        if tab in TABS:
            self._state.change(tab=tab)

    def _hints(self) -> dict[str, Any]:
        state = self._state
        measured, failed, total = counts(state)
        examples = f"{len(state.data.splits['evaluation']):,} to evaluate" if state.data else ""
        fit = fits(state)
        leave = "serving" if state.server else "exported" if state.artifact else ""
        return {
            "model": {"words": name_of_model(state), "done": fit, "wrong": False},
            "data": {"words": examples.replace(",", "\u2009"), "done": fit, "wrong": doubtful(state)},
            "explore": {"words": f"{measured + failed} of {total}" if total else "", "done": False, "wrong": False},
            "export": {"words": leave, "done": bool(leave), "wrong": False},
        }


def name_of_model(state: State) -> str:
    """File name of the model; "" when there is none."""
    return Path(state.model.origin or state.model.path).name if state.model else ""

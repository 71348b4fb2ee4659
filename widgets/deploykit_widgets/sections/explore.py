"""Explore: the tab that shows space, trade-off and candidate side by side."""

from __future__ import annotations

from deploykit_widgets.sections._contract import Hint, Panel
from deploykit_widgets.sections.sweep import counts
from deploykit_widgets.state import State


class ExploreSection(Panel):
    """Three panels side by side, each with its own section."""

    name = "explore"
    title = "Explore"
    order = 30
    alone = False
    hinted = ("report", "plan")

    @classmethod
    def hint(cls, state: State) -> Hint:
        """How many of the candidates are done."""
        measured, failed, total = counts(state)
        return Hint(f"{measured + failed} of {total}" if total else "")


ADAPTER = ExploreSection

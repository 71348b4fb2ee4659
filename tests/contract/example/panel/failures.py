"""A panel as an outsider would write it, the kernel's part: the candidates that failed, and why."""

from collections.abc import Mapping
from typing import Any

from deploykit_widgets.answers import Command
from deploykit_widgets.sections._contract import Hint, Panel
from deploykit_widgets.state import State

from deploykit.core.result import Result


class FailuresSection(Panel):
    """What failed."""

    name = "failures"
    title = "Failures"
    order = 35
    fields = ("report",)
    hinted = ("report",)

    @classmethod
    def hint(cls, state: State) -> Hint:
        """How many there are."""
        count = len(_failed(state))
        return Hint(f"{count} failed" if count else "", wrong=count > 0)

    def value(self) -> Any:
        """Name and cause of each."""
        return [{"key": r.key, "name": r.label, "cause": r.failure.cause} for r in _failed(self._state) if r.failure]

    def commands(self) -> Mapping[str, Command]:
        """Trying one again."""
        return {"retry_failure": self._commands.again}


def _failed(state: State) -> list[Result]:
    return [row for row in state.report.rows if row.status == "failed"] if state.report else []


ADAPTER = FailuresSection

"""Panels for a report that is there already, each alone in a cell."""

from __future__ import annotations

import contextlib
from typing import Any

from deploykit.core.errors import CandidateError
from deploykit.reporting import html as report_html
from deploykit.reporting.choice import Choice
from deploykit.reporting.report import Report
from deploykit_widgets.app_section import AppSection
from deploykit_widgets.code_section import CodeSection
from deploykit_widgets.commands import Commands
from deploykit_widgets.desk import Desk
from deploykit_widgets.rows import rows_of
from deploykit_widgets.state import Goal, State
from deploykit_widgets.surface import Hub, Section, Surface
from deploykit_widgets.tradeoff_section import TradeoffSection


class TradeOff:
    """The chart and the table of a report, linked: point, click, brush, sort, and take the candidate on in code.

    Show it by ending a cell with it. Viewers without widgets show the report.

    Args:
        report: From ``dk.sweep``, or ``dk.Report.open``.
        minimize: Cost to minimize; None: that of the sweep.
        max_drop: Largest loss of the metric; None: that of the sweep, or 0.01.

    Attributes:
        widget: The panel as an ipywidget, to put into a layout of your own.

    Raises:
        SettingError: An unknown cost.
    """

    def __init__(self, report: Report, *, minimize: str | None = None, max_drop: float | None = None) -> None:
        with contextlib.suppress(CandidateError):  # nothing is measured
            report.best(minimize=minimize, max_drop=max_drop)
        goal = report.goal(minimize, max_drop)
        self._state = state = State(report.path, goal=Goal(goal.max_drop, goal.minimize))
        self._desk = Desk(lambda error: state.problem("tradeoff", error))
        commands = Commands(state, self._desk)
        self._code = CodeSection(state)
        sections: list[Section] = [AppSection(state, ""), TradeoffSection(commands), self._code]
        hub = Hub(state, self._desk, sections, lambda: rows_of(state.report), ("report",))
        self.widget = Surface(["tradeoff"])
        state.change(report=report)
        hub.add(self.widget)

    @property
    def choice(self) -> Choice | None:
        """The candidate that is selected: the one that was clicked, or the best for the goal."""
        return self._state.chosen

    @property
    def compared(self) -> Choice | None:
        """The candidate it is compared with, B; None when there is none."""
        state = self._state
        if state.report is None or not state.second:
            return None
        return state.report.choice_for(state.second, minimize=state.goal.minimize, max_drop=state.goal.max_drop)

    @property
    def code(self) -> str:
        """The script that gives the same choice."""
        return self._code.script

    def close(self) -> None:
        """End the background thread. The last state stays readable."""
        self._desk.close()

    def __repr__(self) -> str:
        return f"TradeOff({self._state.report!r})"

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = dict(self.widget._repr_mimebundle_(**options) or {})
        report = self._state.report
        static = report_html.notebook(report) if report is not None else ""
        return {**bundle, "text/plain": repr(self), "text/html": static}

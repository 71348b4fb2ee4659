"""Single panels, each in its own cell."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from deploykit.core.errors import CandidateError, SettingError
from deploykit.core.model import Model
from deploykit.data.dataset import Dataset
from deploykit.reporting.report import Choice, Report
from deploykit_widgets import still
from deploykit_widgets.code.script import inputs
from deploykit_widgets.data.notebook_names import name_of
from deploykit_widgets.data.source import source_of
from deploykit_widgets.display import Display
from deploykit_widgets.rows import rows_of
from deploykit_widgets.sections.code import CodeSection
from deploykit_widgets.state import Goal, State

#: The model and data panels write nothing there.
_STORE = Path("runs")


class TradeOff(Display):
    """The linked chart and table of a report: point, click, brush and sort, then use the selected candidate in code.

    End a cell with it to show it. Viewers without widgets show the report.

    Args:
        report: From ``dk.sweep``, or ``dk.Report.open``.
        minimize: Cost to minimize; None: the one of the sweep.
        max_drop: Largest loss of the metric; None: the one of the sweep, or 0.01.

    Raises:
        SettingError: An unknown cost.
    """

    def __init__(self, report: Report, *, minimize: str | None = None, max_drop: float | None = None) -> None:
        with contextlib.suppress(CandidateError):  # nothing is measured
            report.best(minimize=minimize, max_drop=max_drop)
        goal = report.goal(minimize, max_drop)
        state = State(report.path, goal=Goal(goal.max_drop, goal.minimize))
        super().__init__(state, "tradeoff")
        state.change(report=report)
        self._show("tradeoff", rows=lambda: rows_of(state.report), row_fields=("report",))

    @property
    def choice(self) -> Choice | None:
        """The selected candidate: the one that was clicked, or the best for the goal."""
        return self._state.chosen

    @property
    def compared(self) -> Choice | None:
        """The candidate it is compared with, B, or None."""
        return still.other_of(self._state)

    def __repr__(self) -> str:
        return f"TradeOff({self._state.report!r})"

    def _static(self) -> str:
        state = self._state
        if state.report is None:
            return ""
        return still.document(self._still.results(state.report, state.chosen, still.other_of(state)))


class CandidateView(Display):
    """The details of one candidate, or of two compared: verdict, causes, flips, sensitivity, weights and graphs.

    End a cell with it to show it. Viewers without widgets show what ``choice.explain()`` says.

    Args:
        choice: From ``report.best()`` or ``report.choice_for(key)``.
        against: Another candidate of the same report; None, or the same one, compares with the
            original model only.

    Raises:
        SettingError: The two candidates are from different reports.
    """

    def __init__(self, choice: Choice, against: Choice | None = None) -> None:
        report = choice.report
        if against is not None and against.report.path != report.path:
            raise SettingError(
                f"The candidates are from different reports: {report.path} and {against.report.path}.",
                remedy="compare candidates of one sweep.",
            )
        self._shown = choice
        super().__init__(State(report.path, goal=Goal(choice.goal.max_drop, choice.goal.minimize)), "candidate")
        state = self._state
        state.change(report=report)
        state.change(picked=choice.key, second=against.key if against and against.key != choice.key else "")
        self._show("candidate", rows=lambda: rows_of(state.report), row_fields=("report",))

    def __repr__(self) -> str:
        return f"CandidateView({self._shown!r})"

    def _static(self) -> str:
        chosen, other = self._state.chosen or self._shown, still.other_of(self._state)
        return still.document(
            [still.code(chosen.explain()), *([still.paragraph(chosen.compare(other))] if other else [])]
        )


class _Inputs(CodeSection):
    """The code that loads what is shown."""

    @property
    def script(self) -> str:
        """The whole script."""
        return inputs(self._state)


class ModelView(Display):
    """Facts and layers of a model, linked with its graph; another model can be loaded in the panel.

    End a cell with it to show it. Viewers without widgets show the facts.

    Args:
        model: What ``dk.load`` takes or gives; None: a path field is shown.
    """

    def __init__(self, model: Any = None) -> None:
        super().__init__(State(_STORE), "model")
        self._show("model", code=_Inputs)
        if isinstance(model, Model):
            self._state.change(model=model)
        elif model is not None:
            self._desk.post(lambda: self._commands.load_model(model))

    @property
    def model(self) -> Model | None:
        """The model that is shown, or None."""
        return self._state.model

    def __repr__(self) -> str:
        return f"ModelView({str(self.model) if self.model else 'no model'!r})"

    def _static(self) -> str:
        return self.model._repr_html_() if self.model else ""


class DataView(Display):
    """Samples, classes and splits of data, and the smallest accuracy change they can confirm; other data can be loaded.

    End a cell with it to show it.

    Args:
        data: A Dataset, a pair (x, y), or the path of an ``.npz`` or ``.csv`` file or of a folder of images by class;
            None: a path field is shown.
        max_drop: Largest loss of the metric that the data should be able to confirm.
    """

    def __init__(self, data: Any = None, *, max_drop: float = 0.01) -> None:
        super().__init__(State(_STORE, goal=Goal(max_drop)), "data")
        self._show("data", code=_Inputs)
        if isinstance(data, Dataset):
            self._state.change(data=data, data_name=name_of(data))
        elif isinstance(data, str | os.PathLike):
            source = source_of(os.fspath(data))
            self._desk.post(lambda: self._commands.load_data(source))
        elif data is not None:
            self._desk.post(lambda: self._commands.use(data=data, name=name_of(data)))

    @property
    def data(self) -> Dataset | None:
        """The data that are shown, or None."""
        return self._state.data

    def __repr__(self) -> str:
        return f"DataView({self.data!r})"

"""The panels of a model and of data, each alone in a cell."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from deploykit.core.dataset import Dataset
from deploykit.core.model import Model
from deploykit_widgets.app_section import AppSection
from deploykit_widgets.code_section import CodeSection
from deploykit_widgets.commands import Commands
from deploykit_widgets.data_section import DataSection
from deploykit_widgets.data_source import source_of
from deploykit_widgets.desk import Desk
from deploykit_widgets.model_section import ModelSection
from deploykit_widgets.notebook_names import name_of
from deploykit_widgets.script import inputs
from deploykit_widgets.state import Goal, State
from deploykit_widgets.surface import Hub, Surface


class _Code(CodeSection):
    """The code that loads what is shown, and nothing else."""

    @property
    def script(self) -> str:
        """The whole script."""
        return inputs(self._state)


class _Alone:
    """A panel with a state of its own."""

    def __init__(self, panel: str, goal: Goal | None = None) -> None:
        self._state = State(Path("runs"), goal=goal or Goal())
        self._desk = Desk(lambda error: self._state.problem(panel, error))
        self._commands = Commands(self._state, self._desk)
        self._code = _Code(self._state)
        section = ModelSection(self._commands) if panel == "model" else DataSection(self._commands)
        hub = Hub(self._state, self._desk, [AppSection(self._state, ""), section, self._code])
        self.widget = Surface([panel])
        hub.add(self.widget)

    @property
    def code(self) -> str:
        """The script that loads the same."""
        return self._code.script

    def close(self) -> None:
        """End the background thread. The last state stays readable."""
        self._desk.close()

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = dict(self.widget._repr_mimebundle_(**options) or {})
        return {**bundle, "text/plain": repr(self), "text/html": self._static()}

    def _static(self) -> str:
        return ""


class ModelView(_Alone):
    """Facts and layers of a model, linked with its graph; another one can be loaded in it.

    Show it by ending a cell with it. Viewers without widgets show the facts.

    Args:
        model: What ``dk.load`` takes or gives; None: a path field is shown.

    Attributes:
        widget: The panel as an ipywidget, to put into a layout of your own.
    """

    def __init__(self, model: Any = None) -> None:
        super().__init__("model")
        if isinstance(model, Model):
            self._state.change(model=model)
        elif model is not None:
            self._desk.post(lambda: self._commands.load_model(model))

    @property
    def model(self) -> Model | None:
        """The model that is shown; None while there is none."""
        return self._state.model

    def __repr__(self) -> str:
        return f"ModelView({str(self.model) if self.model else 'no model'!r})"

    def _static(self) -> str:
        return self.model._repr_html_() if self.model else ""


class DataView(_Alone):
    """Samples, classes and splits of data, and what change of accuracy they can tell; others can be loaded in it.

    Show it by ending a cell with it.

    Args:
        data: A Dataset, a pair (x, y), or the path of an ``.npz`` or ``.csv`` file or of a folder of images by class;
            None: a path field is shown.
        max_drop: Largest loss of the metric that is to be settled.

    Attributes:
        widget: The panel as an ipywidget, to put into a layout of your own.
    """

    def __init__(self, data: Any = None, *, max_drop: float = 0.01) -> None:
        super().__init__("data", Goal(max_drop))
        if isinstance(data, Dataset):
            self._state.change(data=data, data_name=name_of(data))
        elif isinstance(data, str | os.PathLike):
            source = source_of(os.fspath(data))
            self._desk.post(lambda: self._commands.load_data(source))
        elif data is not None:
            self._desk.post(lambda: self._commands.use(data=data, name=name_of(data)))

    @property
    def data(self) -> Dataset | None:
        """The data that are shown; None while there are none."""
        return self._state.data

    def __repr__(self) -> str:
        return f"DataView({self.data!r})"

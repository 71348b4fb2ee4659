"""The inputs of a sweep: loading the model and the data, and what is known about both before anything runs."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import deploykit as dk
from deploykit.core.errors import DatasetError, SettingError, StoreError
from deploykit.core.settings.option import options_of
from deploykit.core.settings.options import BuildOptions
from deploykit.data.preprocess import Preprocess
from deploykit.reporting.events import Progress
from deploykit.reporting.report import Report
from deploykit_widgets.actions.long_work import LongWork
from deploykit_widgets.endings import usual_endings
from deploykit_widgets.space.obstacles import Obstacles
from deploykit_widgets.state import DataSource, State, Synthesis

_RUNNING = {
    "model": "A sweep of this model is running. Cancel it first.",
    "data": "A sweep on these data is running. Cancel it first.",
}
#: State that belongs to the inputs it was found for.
_FRESH: dict[str, Any] = {
    "plan": None,
    "misfit": None,
    "report": None,
    "picked": "",
    "second": "",
    "best": None,
    "chosen": None,
    "progress": None,
    "obstacles": None,
    "sweep": "idle",
}


#: How often the panel hears how far synthesizing is.
_SAID_EVERY_S = 0.3


def being_read(state: State) -> str:
    """A message if inputs of a sweep are about to change, else ""."""
    late = [name for name in ("model", "data") if name in state.busy]
    return f"the {' and the '.join(late)} {'is' if late == ['model'] else 'are'} still being read." if late else ""


class Inputs(LongWork):
    """The commands of model and data; see `Commands`, which they are part of."""

    #: The sweep of the current inputs, None before the first.
    handle: dk.SweepHandle | None = None

    def load_model(self, path: Any, inputs: Sequence[str] = (), outputs: Sequence[str] = ()) -> None:
        """Load a model, which is never trusted here; a part of it where its inputs or outputs are named."""
        if self._sweeps("model"):
            return
        if not path:
            self.state.problem("model", f"Give the path of a model: {usual_endings()}.", until=("model",))
            return
        cancel = threading.Event()

        def take(model: dk.Model) -> None:
            before = self.state.model
            other = before is not None and before.digest != model.digest
            # What was said of the outputs of one model, or made from it, is not meant for another.
            made = self.state.synthesis if other else None
            own = {"data": made.given, "synthesis": None} if made else {}
            self._take("model", model=model, declared={} if other else self.state.declared, **own)

        self._long("model", lambda: dk.load(path, inputs=inputs, outputs=outputs, cancel=cancel), take, cancel=cancel)

    def cancel_loading(self, panel: Literal["model", "data"]) -> None:
        """Cancel reading in this panel; a process that works for it is killed. The previous model or data stay."""
        self._give_up(panel)
        if panel == "data":
            self.state.change(synthesizing="")

    def load_data(self, source: DataSource, reworded: Callable[[str], str] = str) -> None:
        """Read data from a file or folder.

        Args:
            source: What is read, and how.
            reworded: Makes what is said of a failure fit the screen.
        """
        if self._sweeps("data"):
            return
        if not source.path:
            said = "Give the path of the data: .npz, .csv, or a folder of images by class."
            self.state.problem("data", said, until=("data",))
            return

        def read() -> dk.Dataset:
            options: dict[str, Any] = dict(source.settings)
            if not source.preprocess.is_identity:
                options["preprocess"] = source.preprocess
            try:
                data: dk.Dataset = getattr(dk.Dataset, source.reader)(Path(source.path).expanduser(), **options)
            except (DatasetError, SettingError) as error:
                raise type(error)(reworded(error.message), remedy=reworded(error.remedy)) from error
            return data

        self._long(
            "data",
            read,
            lambda data: self._take(
                "data", data=data, data_source=source, data_name="", data_step=None, synthesis=None
            ),
        )

    def use(self, *, data: Any, name: str = "", step: Preprocess | None = None) -> None:
        """Use a Dataset or a pair (x, y), with different preprocessing if given; ``name`` is its variable."""
        if self._sweeps("data"):
            return

        def read() -> dk.Dataset:
            found = dk.Dataset.of(data)
            return found if step is None else found.preprocessed(step)

        self._long(
            "data",
            read,
            lambda found: self._take(
                "data", data=found, data_source=None, data_name=name, data_step=step, synthesis=None
            ),
        )

    def synthesize(self, settings: Mapping[str, Any]) -> None:
        """Make calibration and training inputs from the model; the data only evaluate then.

        Args:
            settings: Arguments of ``dk.synthesize`` that differ from its defaults.
        """
        state = self.state
        if self._sweeps("data"):
            return
        if state.model is None:
            state.problem("data", "Load a model first: the inputs are made from it.", until=("model",))
            return
        model, given = state.model, state.synthesis.given if state.synthesis else state.data
        options = {n: v for n, v in {**state.options, **state.declared}.items() if n in options_of(BuildOptions)}
        cancel, last = threading.Event(), 0.0

        def show(progress: Progress) -> None:
            nonlocal last
            if (now := time.monotonic()) > last + _SAID_EVERY_S and not cancel.is_set():
                last = now
                words = progress.doing
                self.desk.post(lambda: state.change(synthesizing=words if "data" in state.busy else ""))

        def take(data: dk.Dataset) -> None:
            state.change(synthesizing="")
            if state.model is model:
                self._take("data", data=data, synthesis=Synthesis(dict(settings), given))

        self._long(
            "data",
            lambda: dk.synthesize(model, given, **settings, **options, progress=show, cancel=cancel),
            take,
            lambda _error: state.change(synthesizing=""),
            cancel=cancel,
            until=("data", "model"),
        )

    def leave_out_synthesized(self) -> None:
        """Use the data as they were given again."""
        made = self.state.synthesis
        if made is not None and not self._sweeps("data"):
            self._take("data", data=made.given, synthesis=None)

    def preprocess(self, step: Preprocess) -> None:
        """Read the notebook's data with different preprocessing."""
        made = self.state.synthesis
        data = made.given if made else self.state.data
        if data is None or self._sweeps("data"):
            return
        name, source = self.state.data_name, self.state.data_source
        self._long(
            "data",
            lambda: data.preprocessed(step),
            lambda found: self._take(
                "data", data=found, data_source=source, data_name=name, data_step=step, synthesis=None
            ),
        )

    def declare(self, said: Mapping[str, Any]) -> None:
        """Use what the user declares about the signature: arguments of ``dk.sweep``."""
        if not self._sweeps("data"):
            self._take("data", declared={**self.state.declared, **said})

    def _sweeps(self, panel: str) -> bool:
        """Whether a sweep of the current input is running; if so, the panel says so."""
        if self.state.sweeping:
            self.state.problem(panel, _RUNNING[panel], until=("sweep",))
        return self.state.sweeping

    def _take(self, panel: str, **values: Any) -> None:
        """The model or the data changed: earlier findings belong to the old ones."""
        if self._sweeps(panel):
            return
        self.handle = None
        self.state.problem("sweep", None)
        self.state.change(**_FRESH, **values)

    def _find_obstacles(self) -> None:
        model, data, declared = self.state.model, self.state.data, self.state.declared
        if model is None or data is None:
            return

        def show(obstacles: Obstacles) -> None:
            if self.state.model is model and self.state.data is data:
                self.state.change(obstacles=obstacles)

        # An error also affects the plan, and is shown there.
        self.desk.run("obstacles", lambda: Obstacles.find(model, data, declared), show, lambda _error: None)

    def find_earlier(self) -> None:
        """Show what the store already has for this model and these data."""
        state = self.state
        model, data = state.model, state.data
        if model is None or data is None or state.report is not None:
            return

        def look() -> Report | None:
            with contextlib.suppress(StoreError):
                return dk.Report.open(state.store, model=model, data=data)
            return None

        def show(report: Report | None) -> None:
            if report is not None and state.report is None and state.model is model and state.data is data:
                state.change(report=report)

        self.desk.run("earlier", look, show, lambda error: state.problem("sweep", error, until=("model", "data")))

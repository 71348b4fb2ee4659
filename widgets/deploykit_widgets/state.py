"""What the panels share: one object with observers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deploykit import Artifact
from deploykit.core.errors import DatasetError, DeploykitError
from deploykit.core.model import Model
from deploykit.core.space import Space
from deploykit.data.dataset import Dataset
from deploykit.data.preprocess import Preprocess
from deploykit.reporting.events import Progress
from deploykit.reporting.report import Choice, Report

if TYPE_CHECKING:
    from deploykit import Plan, Server
    from deploykit_widgets.space.choice import SpaceChoice
    from deploykit_widgets.space.obstacles import Obstacles
    from deploykit_widgets.space.where import Device

#: States of a sweep, as the strip shows them.
SweepState = Literal["idle", "starting", "running", "paused", "cancelling", "cancelled", "failed", "done"]


@dataclass(frozen=True)
class Goal:
    """What the user wants of the best candidate; see ``Report.best``.

    Attributes:
        max_drop: Largest loss of the metric, as a share.
        minimize: Cost to minimize.
    """

    max_drop: float = 0.01
    minimize: str = "latency"


@dataclass(frozen=True)
class DataSource:
    """How the data were read, for the code that reads them again.

    Attributes:
        path: File or folder.
        reader: Name of the constructor of Dataset.
        preprocess: Preprocessing of every input.
        settings: Other arguments of the constructor, as JSON.
    """

    path: str
    reader: str = "from_npz"
    preprocess: Preprocess = field(default_factory=Preprocess)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Synthesis:
    """Where synthesized inputs come from; see ``dk.synthesize``.

    Attributes:
        settings: Its arguments: what differs from the defaults.
        given: The data they were added to, None if there were none.
    """

    settings: Mapping[str, Any]
    given: Dataset | None = None


@dataclass(frozen=True)
class Check:
    """A step of an export.

    Attributes:
        words: What the step does or, when it is done, what it found.
        state: Its progress.
    """

    words: str
    state: Literal["waiting", "running", "done", "failed"] = "waiting"


@dataclass
class State:
    """Everything the panels show. Changed only by `change` on the desk's thread; any thread may read it.

    Attributes:
        store: Folder of the sweep.
        start: The space that the cell gives: name of a preset, or a space.
        options: How the sweep is run: what differs from the defaults, see `deploykit_widgets.space.options`.
        model: The model, None before it is loaded.
        data: The data, None before they are loaded.
        data_source: How the data were read; None when a Dataset was given.
        data_name: The notebook's name for its data, "" if they have no name or were read from a file.
        data_step: Preprocessing that the panel applied to the notebook's data; None if they are unchanged.
        synthesis: How training and calibration inputs of ``data`` were synthesized; None if they were not.
        synthesizing: How far that is, in words; "" while it is not running.
        declared: The declared signature: arguments of ``dk.sweep`` (output, scores, state, constants).
        space: The space that the controls define; None if they do not define one.
        space_choice: The values of the controls.
        controls: Number of changes to controls of the Space panel so far.
        devices: Runtime → its devices; empty until requested.
        plan: What would run; None if there is no plan (yet).
        planning: Whether settings have changed since ``plan`` was made.
        misfit: Why data and model do not fit, according to the plan; None if they do.
        obstacles: What is impossible for this model on the chosen runtimes; None while unknown.
        sweep: The state of the sweep.
        progress: Last message of the sweep.
        took_s: Seconds the last sweep took.
        report: Results so far.
        goal: The goal.
        best: The best so far for the goal.
        picked: Key of the candidate the user picked, "" to follow the best.
        second: Key of the candidate it is compared with, "" for none.
        chosen: The candidate the panels show: the picked one, or the best so far.
        artifact: The last export.
        checks: The steps of the export so far, in order.
        exported: Key of the candidate that was exported last.
        layout: Export layout.
        server: The running server.
        calls: Its address, and how to call it; None if there is no server.
        measuring: The level of a technique that is being measured layer by layer, with its progress; None if none is.
        port_taken: The requested port if another program uses it, else 0.
        port_free: A port that can be used instead.
        tab: Name of the panel whose tab is shown; "" if there are no tabs.
        busy: Panels that wait for long work.
        problems: Panel → what went wrong there, in words.
    """

    store: Path
    start: str | Space = "quick"
    options: Mapping[str, Any] = field(default_factory=dict)
    model: Model | None = None
    data: Dataset | None = None
    data_source: DataSource | None = None
    data_name: str = ""
    data_step: Preprocess | None = None
    synthesis: Synthesis | None = None
    synthesizing: str = ""
    declared: Mapping[str, Any] = field(default_factory=dict)
    space: Space | None = None
    space_choice: SpaceChoice | None = None
    controls: int = 0
    devices: Mapping[str, Sequence[Device]] = field(default_factory=dict)
    plan: Plan | None = None
    planning: bool = False
    misfit: DatasetError | None = None
    obstacles: Obstacles | None = None
    sweep: SweepState = "idle"
    progress: Progress | None = None
    took_s: float = 0.0
    report: Report | None = None
    goal: Goal = field(default_factory=Goal)
    best: Choice | None = None
    picked: str = ""
    second: str = ""
    chosen: Choice | None = None
    artifact: Artifact | None = None
    checks: tuple[Check, ...] = ()
    exported: str = ""
    layout: str = "folder"
    server: Server | None = None
    calls: Mapping[str, Any] | None = None
    measuring: dict[str, Any] | None = None
    port_taken: int = 0
    port_free: int = 0
    tab: str = ""
    busy: frozenset[str] = frozenset()
    problems: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._observers: list[tuple[frozenset[str], Callable[[], None]]] = []
        self._until: dict[str, frozenset[str]] = {}

    def observe(self, work: Callable[[], None], *names: str) -> None:
        """Call ``work`` once after any of these attributes has changed."""
        self._observers.append((frozenset(names), work))

    def change(self, **values: Any) -> None:
        """Set attributes and notify the observers of those that changed."""
        changed = {name for name, value in values.items() if getattr(self, name) is not value}
        for name in changed:
            setattr(self, name, values[name])
        over = {panel for panel, names in self._until.items() if names & changed}
        for panel in over:
            self.problem(panel, None)
        for names, work in tuple(self._observers):
            if names & changed:
                work()

    def problem(self, panel: str, error: BaseException | str | None, until: Iterable[str] = ()) -> None:
        """Show (or clear, with None) what went wrong in a panel.

        Args:
            panel: Where it is shown.
            error: What went wrong.
            until: Attributes that cause it; it is cleared when one of them changes.
        """
        text = "" if error is None else error if isinstance(error, str) else in_words(error)
        self._until.pop(panel, None)
        if text and (names := frozenset(until)):
            self._until[panel] = names
        if self.problems.get(panel, "") != text:
            self.change(problems={**self.problems, panel: text})

    @property
    def model_name(self) -> str:
        """File name of the model; "" when there is none."""
        return Path(self.model.origin or self.model.path).name if self.model else ""

    @property
    def sweeping(self) -> bool:
        """Whether a sweep is in progress."""
        return self.sweep in {"starting", "running", "paused", "cancelling"}


def in_words(error: BaseException) -> str:
    """An error as a sentence, never as a traceback."""
    if isinstance(error, DeploykitError):
        return str(error)
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

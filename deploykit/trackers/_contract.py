"""What an experiment tracker is: it is handed a sweep as plain runs, and writes what is not there yet."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from deploykit.core.adapter import Adapter
from deploykit.core.parameter import Parameter, Value, complete
from deploykit.core.registry import Registry
from deploykit.core.serial import Plain, dump


@dataclass(frozen=True)
class Trial(Plain):
    """One candidate, or what a sweep has found as a whole.

    Attributes:
        key: The candidate's key; the sweep's.
        name: Its name for people.
        failed: Whether it failed.
        parameters: What was chosen: recipe and target.
        metrics: What was measured, units in the names; finite numbers.
        tags: What else is known of it.
    """

    key: str
    name: str
    failed: bool = False
    parameters: dict[str, bool | int | float | str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of all it says: what has one is not written again."""
        return hashlib.sha256(dump(self)).hexdigest()


@dataclass(frozen=True)
class Experiment:
    """A sweep.

    Attributes:
        model: The model's name.
        sweep: The sweep as a whole.
        trials: Its candidates, but for those that are not measured yet.
        best: Key of the best candidate; "" when none has been measured.
        best_digest: SHA-256 of its file.
        metric: Name of the metric among the trials' metrics.
        higher_is_better: Its direction.
        export: Exports the best candidate to a folder, in the tracker's layout.
    """

    model: str
    sweep: Trial
    trials: tuple[Trial, ...]
    best: str
    best_digest: str
    metric: str
    higher_is_better: bool
    export: Callable[[Path], None]


@dataclass(frozen=True)
class Logged(Plain):
    """What was logged.

    Attributes:
        tracker: Name of the tracker.
        place: Where.
        written: Runs that were written, the sweep's own among them.
        unchanged: Runs that were there already.
        model: The registered version of the best candidate, "" where the tracker has no registry.

    Example:
        >>> report = dk.Report.open("finished")
        >>> logged = report.log_to("tensorboard", "runs/board")
        >>> logged.written, report.log_to("tensorboard", "runs/board").written
        (21, 0)
    """

    tracker: str
    place: str
    written: int
    unchanged: int
    model: str = ""

    def __str__(self) -> str:
        text = f"{self.place}: {self.written} runs written, {self.unchanged} unchanged"
        return f"{text}; {self.model}" if self.model else text


class Tracker(Adapter):
    """A tracker.

    Attributes:
        parameters: Its settings.
        layout: Name of the export layout in which it takes the best candidate; "" for none.
    """

    parameters: ClassVar[tuple[Parameter, ...]] = ()
    layout: ClassVar[str] = ""

    def complete(self, given: Mapping[str, Any]) -> dict[str, Value]:
        """All settings with their values.

        Raises:
            SettingError: An unknown setting (lists the known ones) or a bad value.
        """
        return complete(self.parameters, dict(given), self.name)

    @abstractmethod
    def log(self, experiment: Experiment, place: str, settings: Mapping[str, Value]) -> Logged:
        """Write what is not there yet. To do it twice adds nothing.

        Args:
            experiment: The sweep.
            place: An address or a folder; "" for the tracker's own default.
            settings: All of its settings, checked.

        Raises:
            SettingError: It has no default place.
            StoreError: The place cannot be written.
        """


TRACKERS: Registry[Tracker] = Registry("deploykit.trackers", "tracker")

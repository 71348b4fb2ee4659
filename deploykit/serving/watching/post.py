"""A version that is served, and what the monitor knows of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deploykit.core.settings.monitoring import MonitorSettings
from deploykit.monitoring.operation.performance import Exported, PerformanceWatch
from deploykit.serving.meter import BOUNDS_EXAMPLES, BOUNDS_S
from deploykit.serving.watching.mind import Mind


@dataclass(frozen=True)
class Watched:
    """A version that is served.

    Attributes:
        name: Name of the model.
        version: Its version.
        digest: Digest of its artifact.
        exported: What was measured when it was exported.
        mind: Makes the detectors for its inputs and answers.
    """

    name: str
    version: str
    digest: str
    exported: Exported
    mind: Callable[[MonitorSettings], Mind]


class Post:
    """What is known of one version."""

    def __init__(self, watched: Watched, settings: MonitorSettings) -> None:
        self.watched = watched
        self.performance = PerformanceWatch(watched.exported, BOUNDS_S, BOUNDS_EXAMPLES, settings)
        self.mind = watched.mind(settings)
        self.changed = False

    @property
    def state_name(self) -> str:
        """Under which name its state is kept."""
        return f"{self.watched.name}/{self.watched.digest}"

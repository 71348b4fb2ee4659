"""What a monitor says at one moment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from deploykit.core.serial import Plain
from deploykit.monitoring.operation.alarms import Alarm, clock
from deploykit.monitoring.operation.performance import Performance
from deploykit.monitoring.operation.resources import Resources


@dataclass(frozen=True)
class ModelStatus(Plain):
    """One version of a model.

    Attributes:
        name: Name of the model.
        version: Its version.
        digest: Digest of its artifact.
        performance: The last window; None before there was one.
        drift: What its detector says of the inputs: see ``deploykit.monitoring.detector``; None where the artifact has
            no profile, or nothing has come.
        accuracy: What is known of its accuracy: an estimate without labels, and what labels say; None where neither
            can be had.
        watched: Share of its examples that were looked at.
        tokens: For each token what its requests look like: ``requests``, ``evidence`` against ``threshold``, ``rare``
            and ``unseen`` shares. Who copies a model asks for what no user would.
        note: Why something is not watched, "" if all is.
    """

    name: str
    version: str
    digest: str = ""
    performance: Performance | None = None
    drift: dict[str, Any] | None = None
    accuracy: dict[str, Any] | None = None
    watched: float = 1.0
    note: str = ""
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class MonitorStatus(Plain):
    """What a monitor says. Times are seconds since 1970.

    Attributes:
        at: When.
        since: When it began to watch.
        models: Versions that are served.
        alarms: Alarms that last, the oldest first.
        past: The newest alarms that are over.
        resources: What the server takes.
        problems: What keeps the monitor from its work.

    Example:
        >>> from deploykit.monitoring.operation.status import MonitorStatus
        >>> MonitorStatus(at=1.0, since=0.0).healthy
        True
    """

    at: float
    since: float
    models: tuple[ModelStatus, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    past: tuple[Alarm, ...] = ()
    resources: Resources | None = None
    problems: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        """Whether no alarm lasts."""
        return not self.alarms

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for model in self.models:
            yield f"{model.name}/{model.version}: {_performance(model.performance)}"
            yield from (f"  {line}" for line in _meaning(model))
        if self.resources is not None:
            yield _resources(self.resources)
        if not self.alarms:
            yield f"no alarms at {clock(self.at)}"
        for alarm in self.alarms:
            yield f"ALARM {alarm}"
        for problem in self.problems:
            yield f"problem: {problem}"


def _performance(found: Performance | None) -> str:
    if found is None:
        return "no window yet"
    said = [f"{found.rate:.3g} requests/s", f"{found.answered} answered", f"{found.failed.value:.1%} failed"]
    for stage in found.stages:
        if stage.stage in ("run", "total") and stage.p99_ms is not None:
            beside = "" if stage.exported_p99_ms is None else f", exported {stage.exported_p99_ms:.3g}"
            said.append(f"{stage.stage} p99 {stage.p99_ms.value:.3g} ms{beside}")
    return " · ".join(said)


def _meaning(model: ModelStatus) -> Iterator[str]:
    if model.drift is not None:
        yield f"drift: {model.drift.get('text', '')}"
    if model.accuracy is not None:
        yield f"accuracy: {model.accuracy.get('text', '')}"
    if model.note:
        yield model.note


def _resources(found: Resources) -> str:
    said = [f"{found.cpu:.2f} cores", f"{found.memory_bytes / 2**20:.0f} MiB", f"{found.threads} threads"]
    if found.growth is not None:
        said.append(f"memory {found.growth.value / 2**20:+.2f} MiB/h")
    if found.slowed:
        said.append(found.slowed)
    return " · ".join(said)

"""Several servers of the same models, seen as one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import UnknownRequestError
from deploykit.monitoring.operation.alarms import Alarm
from deploykit.monitoring.operation.latency import failing
from deploykit.monitoring.operation.performance import Performance
from deploykit.monitoring.operation.status import ModelStatus, MonitorStatus
from deploykit.serving.observing.sources import Source

if TYPE_CHECKING:
    from deploykit.core.result import Interval


class Fleet(Source):
    """Servers that serve the same models.

    Evidence of drift is put together as it is within one server: each server's detector alone would take its run
    length until a false alarm, and so does their mean, whatever they have in common.

    Args:
        sources: The servers.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = tuple(sources)

    def status(self) -> MonitorStatus:
        """What all of them know."""
        found = [source.status() for source in self._sources]
        groups: dict[tuple[str, str, str], list[ModelStatus]] = defaultdict(list)
        for status in found:
            for model in status.models:
                groups[model.name, model.version, model.digest].append(model)
        models = tuple(_together(group) for _, group in sorted(groups.items()))
        at = max(status.at for status in found)
        alarms = [alarm for status in found for alarm in status.alarms]
        own = {(alarm.kind, alarm.model, alarm.version) for alarm in alarms}
        alarms += [
            Alarm("drift", m.name, m.version, "all servers", str((m.drift or {}).get("text", "")), since=at, raised=at)
            for m in models
            if m.drift is not None
            and m.drift["evidence"] >= m.drift["threshold"]
            and ("drift", m.name, m.version) not in own
        ]
        return MonitorStatus(
            at, min(status.since for status in found), models, tuple(sorted(alarms, key=lambda alarm: alarm.since)),
            tuple(alarm for status in found for alarm in status.past), None,
            tuple(dict.fromkeys(problem for status in found for problem in status.problems)),
        )  # fmt: skip

    def history(self, name: str, version: str) -> list[dict[str, Any]]:
        """Points of all of them, in the order of their times."""
        points = [point for source in self._sources for point in source.history(name, version)]
        return sorted(points, key=lambda point: float(point["at"]))

    def feedback(self, name: str, labels: Mapping[str, Any]) -> int:
        """Give each label to the server that has answered."""
        taken, unknown = 0, []
        for request, label in labels.items():
            for source in self._sources:
                try:
                    taken += source.feedback(name, {request: label})
                    break
                except UnknownRequestError as error:
                    problem = error
            else:
                unknown.append(problem)
        if unknown:
            raise unknown[0]
        return taken

    def tells(self, callback: Callable[[Alarm], object]) -> bool:
        """Alarms have to be asked for: some are of all of them together."""
        return False

    def close(self) -> None:
        """Ask no more."""
        for source in self._sources:
            source.close()

    def __str__(self) -> str:
        return f"[{', '.join(map(str, self._sources))}]"


def _together(group: Sequence[ModelStatus]) -> ModelStatus:
    """One version on several servers."""
    first = group[0]
    if len(group) == 1:
        return first
    drifts = [model.drift for model in group if model.drift is not None]
    accuracies = [model.accuracy for model in group if model.accuracy is not None]
    windows = [model.performance for model in group if model.performance is not None]
    return replace(
        first,
        performance=_performance(windows) if windows else None,
        drift=_drift(drifts) if drifts else None,
        accuracy={"text": " ".join(str(one["text"]) for one in accuracies)} if accuracies else None,
        watched=sum(model.watched for model in group) / len(group),
        tokens={token: said for model in group for token, said in model.tokens.items()},
        note=first.note or f"On {len(group)} servers.",
    )


def _performance(windows: Sequence[Performance]) -> Performance:
    rates = [window.rate * window.seconds for window in windows]
    failed: Interval = failing(
        round(sum(w.failed.value * n for w, n in zip(windows, rates, strict=True))), round(sum(rates))
    )
    slowest = max(windows, key=lambda w: max((s.p99_ms.value for s in w.stages if s.p99_ms is not None), default=0.0))
    return Performance(
        max(window.seconds for window in windows), sum(window.rate for window in windows),
        sum(window.answered for window in windows), failed, sum(window.refused for window in windows), slowest.stages,
    )  # fmt: skip


def _drift(drifts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Evidence as its mean; features as on the server where they have moved most."""
    evidence = sum(float(one["evidence"]) for one in drifts) / len(drifts)
    worst = max(drifts, key=lambda one: float(one["evidence"]))
    requests = sum(int(one["requests"]) for one in drifts)
    alarm = any(one["alarm"] for one in drifts) or evidence >= worst["threshold"]
    text = worst["text"] if alarm else f"No drift in {requests:,} requests on {len(drifts)} servers."
    return {**worst, "evidence": evidence, "requests": requests, "alarm": alarm, "text": text}

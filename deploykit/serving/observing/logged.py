"""An access log in JSON, read as if its requests came now: rate, errors and latency by version. No line is trusted."""

from __future__ import annotations

import datetime
import json
import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from deploykit.core.errors import SettingError
from deploykit.core.settings.monitoring import MonitorSettings
from deploykit.monitoring.operation.book import Book
from deploykit.monitoring.operation.desk import Desk
from deploykit.monitoring.operation.performance import Counts, Exported, PerformanceWatch
from deploykit.monitoring.operation.status import ModelStatus, MonitorStatus
from deploykit.serving.meter import BOUNDS_EXAMPLES, BOUNDS_S, STAGES
from deploykit.serving.watching.counted import outcome

_MOST_LINE_BYTES, _MOST_LINES, _MOST_VERSIONS = 1 << 16, 50_000_000, 256
_WINDOW_S = 10.0


class _Line(NamedTuple):
    at: float
    model: str
    version: str
    status: str
    seconds: dict[str, float]


class _Counting:
    """Counts of one version as they grow."""

    def __init__(self) -> None:
        self.totals = dict.fromkeys(("answered", "failed", "refused"), 0)
        self.stages = {stage: [0] * (len(BOUNDS_S) + 1) for stage in (*STAGES, "total")}

    def add(self, line: _Line) -> None:
        self.totals[outcome(line.status)] += 1
        if len(line.seconds) > 1:
            for stage, seconds in line.seconds.items():
                self.stages[stage][bisect_left(BOUNDS_S, seconds)] += 1

    def now(self) -> Counts:
        answered, failed, refused = self.totals.values()
        return Counts(answered, failed, refused, {stage: tuple(counts) for stage, counts in self.stages.items()})


def read_log(path: Path) -> tuple[MonitorStatus, dict[tuple[str, str], list[dict[str, Any]]]]:
    """The status at a log's end, and the past of its versions by windows of ten seconds.

    Raises:
        SettingError: It is not an access log in JSON: fewer than half of its lines are requests.
    """
    counting: dict[tuple[str, str], _Counting] = defaultdict(_Counting)
    watches: dict[tuple[str, str], PerformanceWatch] = {}
    desk, past = Desk(Book()), defaultdict[tuple[str, str], list[dict[str, Any]]](list)
    begin = end = left_out = read = 0.0

    def close_window(at: float) -> None:
        for key, one in counting.items():
            watch = watches.get(key)
            if watch is None:
                watch = watches[key] = PerformanceWatch(Exported(), BOUNDS_S, BOUNDS_EXAMPLES, MonitorSettings())
                list(watch.add(Counts(), at - _WINDOW_S))
            for kind, subject, finding in watch.add(one.now(), at):
                desk.settle((kind, *key, subject), finding, at)
            if watch.window is not None:
                past[key].append(
                    {"at": at, "rate": watch.window.rate, "failed": watch.window.failed.value, **_run(watch)}
                )

    for line in _lines(path):
        if line is None or (len(counting) >= _MOST_VERSIONS and (line.model, line.version) not in counting):
            left_out += 1
            continue
        read += 1
        if not begin:
            begin, end = line.at, line.at + _WINDOW_S
        if line.at >= end:
            close_window(end)
            # Time that no line tells of is not gone through window by window.
            end += _WINDOW_S * max(1, math.floor((line.at - end) / _WINDOW_S) + 1)
        if line.model:
            counting[line.model, line.version].add(line)
    if read < left_out or not read:
        raise SettingError(
            f"{path} is not an access log in JSON: {left_out:.0f} of its {left_out + read:.0f} lines are not requests.",
            remedy="serve with access_log= and log_format='json' (--access-log FILE --log-format json).",
        )
    close_window(end)
    models = tuple(
        ModelStatus(*key, performance=watch.window, note="An access log says nothing of inputs and answers.")
        for key, watch in sorted(watches.items())
    )
    problems = (f"{left_out:.0f} lines of {path.name} are not requests and were left out.",) if left_out else ()
    return MonitorStatus(end, begin, models, tuple(desk.ongoing), tuple(desk.past), None, problems), dict(past)


def _run(watch: PerformanceWatch) -> dict[str, Any]:
    assert watch.window is not None
    return {
        stage.stage: [stage.p50_ms.value, stage.p99_ms.value]
        for stage in watch.window.stages
        if stage.p50_ms is not None and stage.p99_ms is not None
    }


def _lines(path: Path) -> Iterator[_Line | None]:
    """Requests of a log; None for a line that is none."""
    try:
        with path.open("rb") as file:
            for _ in range(_MOST_LINES):
                data = file.readline(_MOST_LINE_BYTES)
                if not data:
                    return
                if data.strip():
                    yield _line(data)
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror}.") from error


def _line(data: bytes) -> _Line | None:
    try:
        found = json.loads(data)
        if not isinstance(found, dict) or "status" not in found:
            return None
        at = datetime.datetime.fromisoformat(str(found["time"])).timestamp()
        given = found.get("ms")
        milliseconds = given if isinstance(given, dict) else {}
        seconds = {s: float(milliseconds[s]) / 1000 for s in (*STAGES, "total") if s in milliseconds}
        if not all(0 <= value < 1e6 for value in seconds.values()):
            return None
        model, version = str(found.get("model", ""))[:200], str(found.get("version", ""))[:20]
        return _Line(at, model, version, str(found["status"]), seconds)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None

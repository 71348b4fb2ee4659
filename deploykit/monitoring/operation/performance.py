"""Rate, errors and latency of one version of a model, window after window, and what is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from deploykit.core.result import Interval
from deploykit.core.serial import Plain
from deploykit.core.settings.monitoring import MonitorSettings
from deploykit.monitoring.operation.alarms import clock
from deploykit.monitoring.operation.desk import Finding
from deploykit.monitoring.operation.latency import Slowness, StageLatency, failing, quantile, sure_quantile, sure_share

#: A stream has stopped when nothing has come for so many times its longest pause, at least so long, after so many
#: requests.
_PAUSES, _LEAST_SILENCE_S, _LEAST_REQUESTS = 4.0, 60.0, 200
#: Latency is judged when so many requests have come, which a 99th percentile needs; or after so long, by what there is.
_JUDGED_REQUESTS, _JUDGED_SECONDS = 2_000, 600.0


@dataclass(frozen=True)
class Counts:
    """What a server has counted of one version since it was started.

    Attributes:
        answered: Requests that were answered.
        failed: Requests that failed by the server's fault, or since it had too many.
        refused: Requests that were refused by the client's fault.
        stages: Stage → requests by bucket; ``"total"`` for the whole.
        batches: Batches by bucket of their number of examples.
        examples: Examples that ran.
    """

    answered: int = 0
    failed: int = 0
    refused: int = 0
    stages: dict[str, tuple[int, ...]] = field(default_factory=dict)
    batches: tuple[int, ...] = ()
    examples: int = 0

    def since(self, before: Counts) -> Counts:
        """What came after another reading. Numbers that have shrunk began again, as when a file was removed."""
        return Counts(
            _after(self.answered, before.answered),
            _after(self.failed, before.failed),
            _after(self.refused, before.refused),
            {stage: _each(counts, before.stages.get(stage, ())) for stage, counts in self.stages.items()},
            _each(self.batches, before.batches),
            _after(self.examples, before.examples),
        )


def _after(now: int, then: int) -> int:
    return now - then if now >= then else now


def _each(now: Sequence[int], then: Sequence[int]) -> tuple[int, ...]:
    if len(now) != len(then) or any(a < b for a, b in zip(now, then, strict=True)):
        return tuple(now)
    return tuple(a - b for a, b in zip(now, then, strict=True))


@dataclass(frozen=True)
class Exported:
    """What was measured of a version when it was exported.

    Attributes:
        p50_ms: Median of one inference.
        p99_ms: 99th percentile; None where it was not measured.
        batch_size: Examples of one inference.
    """

    p50_ms: Interval | None = None
    p99_ms: float | None = None
    batch_size: int = 1


@dataclass(frozen=True)
class Performance(Plain):
    """One window of one version.

    Attributes:
        seconds: Length of the window.
        rate: Requests answered a second.
        answered: Requests that were answered since the server was started.
        failed: Share of the window's requests that failed by the server's fault, with its 95 % interval.
        refused: Requests of the window that were refused by the client's fault.
        stages: Latency by stage, the whole last, of the last 2,000 requests or so: fewer say nothing of a percentile.
    """

    seconds: float
    rate: float
    answered: int
    failed: Interval
    refused: int
    stages: tuple[StageLatency, ...] = ()


class PerformanceWatch:
    """Watches one version.

    Args:
        exported: What was measured when it was exported.
        bounds: Upper ends of the buckets of times, seconds.
        sizes: Upper ends of the buckets of batches, examples.
        settings: What is an alarm.
    """

    def __init__(
        self, exported: Exported, bounds: Sequence[float], sizes: Sequence[int], settings: MonitorSettings
    ) -> None:
        self._exported = exported
        self._bounds = bounds
        self._sizes = sizes
        self._slower = settings.slower
        self._slow = Slowness(1.0)
        self._failing = Slowness(settings.failing)
        self._counts: Counts | None = None
        self._at = 0.0
        self._window: Performance | None = None
        #: Since when latency is being counted, and what it was when it was judged last.
        self._base: tuple[Counts, float] = Counts(), 0.0
        self._latency: tuple[StageLatency, ...] = ()
        self._slow_requests = self._slow_of = self._failed = self._failed_of = 0
        self._last_request, self._longest_pause, self._requests = 0.0, 0.0, 0
        self._text = ""

    @property
    def window(self) -> Performance | None:
        """The last window."""
        return self._window

    def add(self, counts: Counts, at: float) -> Iterator[tuple[str, str, Finding | None]]:
        """Take what the server has counted.

        Args:
            counts: Since it was started.
            at: Now, seconds since 1970 by a clock that does not jump.

        Returns:
            For each alarm there may be: kind, subject, and why there should be one.
        """
        before, begin = self._counts, self._at
        self._counts, self._at = counts, at
        if before is None:
            self._last_request, self._base = at, (counts, at)
            return
        window = counts.since(before)
        seconds = max(at - begin, 1e-9)
        judged, since = counts.since(self._base[0]), self._base[1]
        ran = sum(judged.stages.get("run", ()))
        if ran >= _JUDGED_REQUESTS or at - since >= _JUDGED_SECONDS:
            self._base = counts, at
            yield "latency", "run", self._slowness(judged, since)
        if ran and (ran >= _JUDGED_REQUESTS or not self._latency or self._latency[0].requests < _JUDGED_REQUESTS):
            self._latency = tuple(self._stages(judged))
        self._window = Performance(
            seconds, window.answered / seconds, counts.answered,
            failing(window.failed, window.answered + window.failed), window.refused,
            self._latency,
        )  # fmt: skip
        yield "errors", "", self._errors(window, begin)
        yield "silence", "", self._silence(window, at)

    def _stages(self, window: Counts) -> Iterator[StageLatency]:
        for stage, buckets in window.stages.items():
            exported = None
            if stage == "run" and self._exported.p99_ms is not None:
                exported = self._exported.p99_ms * self._growth(window)
            median, tail = (_ms(quantile(buckets, self._bounds, share)) for share in (0.5, 0.99))
            yield StageLatency(stage, sum(buckets), median, tail, exported)

    def _growth(self, window: Counts) -> float:
        """How much longer a batch of the window may take than that which was measured: it holds more examples."""
        if not window.batches:
            return 1.0
        largest = quantile(window.batches, self._sizes, 0.99)
        size = largest.value if largest is not None else window.examples / max(1, sum(window.batches))
        return max(1.0, min(size, self._sizes[-1]) / self._exported.batch_size)

    def _slowness(self, window: Counts, begin: float) -> Finding | None:
        buckets, exported = window.stages.get("run", ()), self._exported.p99_ms
        if exported is None or not buckets:
            return None
        limit_ms = self._slower * exported * self._growth(window)
        found = sure_quantile(buckets, self._bounds, 0.99)
        relative = (
            None if found is None else Interval(*(1000 * v / limit_ms for v in (found.value, found.low, found.high)))
        )
        if not self._slow.add(relative, begin):
            self._slow_requests = self._slow_of = 0
            return None
        above = sum(n for bound, n in zip((0.0, *self._bounds), buckets, strict=True) if 1000 * bound >= limit_ms)
        self._slow_requests += above
        self._slow_of += sum(buckets)
        since = self._slow.since or begin
        if found is not None:
            right_ms = limit_ms / self._slower
            now, low, high = (_number(1000 * value) for value in (found.value, found.low, found.high))
            times = _number(1000 * found.value / right_ms)
            self._text = (
                f"p99 is {times}× the exported figure since {clock(since)}, run stage: "
                f"{now} ms ({low} to {high}) against {_number(right_ms)} ms."
            )
        return Finding(
            self._text, since, share=self._slow_requests / max(1, self._slow_of),
            details={"factor": self._slow.worst * self._slower, "exported_p99_ms": exported, "stage": "run"},
        )  # fmt: skip

    def _errors(self, window: Counts, begin: float) -> Finding | None:
        total = window.answered + window.failed
        if not self._failing.add(sure_share(window.failed, total) if total else None, begin):
            self._failed = self._failed_of = 0
            return None
        self._failed += window.failed
        self._failed_of += total
        since, share = self._failing.since or begin, self._failed / max(1, self._failed_of)
        return Finding(
            f"{share:.1%} of the requests failed since {clock(since)}.",
            since,
            share=share,
            details={"failed": self._failed},
        )

    def _silence(self, window: Counts, at: float) -> Finding | None:
        if window.answered or window.failed or window.refused:
            self._longest_pause = max(self._longest_pause, at - self._last_request)
            self._last_request = at
            self._requests += window.answered
        pause = at - self._last_request
        if self._requests < _LEAST_REQUESTS or pause < max(_LEAST_SILENCE_S, _PAUSES * self._longest_pause):
            return None
        return Finding(
            f"Nothing has come for {pause:.0f} s; the longest pause before was {self._longest_pause:.0f} s.",
            self._last_request,
        )


def _ms(interval: Interval | None) -> Interval | None:
    if interval is None:
        return None
    return Interval(*(1000 * value for value in (interval.value, interval.low, interval.high)))


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "over 100,000"

"""Latency while it serves, from histograms, against what was measured when the artifact was exported."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from deploykit.core.result import Interval
from deploykit.core.serial import Plain

#: A percentile needs so many values above it, as in measurements.
_ABOVE = 10
#: Standard deviations of the intervals an alarm rests on: a chance of 1 in 30,000 on each side.
_SURE = 4.0
#: The usual 95 % interval.
_USUAL = 1.96
#: So many windows in a row have to agree before there is an alarm.
_WINDOWS = 3


def quantile(
    counts: Sequence[int], bounds: Sequence[float], share: float, deviations: float = _USUAL
) -> Interval | None:
    """A quantile of values that are known by the buckets they fell into.

    The interval is that of the order statistics, which supposes nothing of how the values are distributed; its ends are
    those of buckets, so that it holds the truth whatever lies within one.

    Args:
        counts: Values by bucket; one more than ``bounds``, without an upper end.
        bounds: Upper ends of the buckets, growing.
        share: Which quantile, for example 0.99.
        deviations: Standard deviations of the interval, 1.96 for 95 %.

    Returns:
        The quantile (upper end of its bucket) and its interval in the unit of ``bounds``; None where fewer than ten
        values lie above it.
    """
    total = sum(counts)
    if total * (1 - share) < _ABOVE:
        return None
    spread = deviations * math.sqrt(total * share * (1 - share))
    sums, running = [], 0
    for count in counts:
        running += count
        sums.append(running)
    ends = [*bounds, math.inf]

    def bucket(rank: float) -> int:
        return bisect_left(sums, min(max(rank, 1.0), total))

    low = bucket(math.floor(total * share - spread))
    return Interval(
        ends[bucket(total * share)], ends[low - 1] if low else 0.0, ends[bucket(math.ceil(total * share + spread))]
    )


def failing(failed: int, total: int, deviations: float = _USUAL) -> Interval:
    """A share with Wilson's interval, which holds for few and for rare ones."""
    if not total:
        return Interval(0.0, 0.0, 1.0)
    share, square = failed / total, deviations**2
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = deviations / (1 + square / total) * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


@dataclass(frozen=True)
class StageLatency(Plain):
    """One stage of a model's requests in a window.

    Attributes:
        stage: ``"decode"``, ``"queue"``, ``"run"``, ``"encode"``, or ``"total"``.
        requests: How many requests.
        p50_ms: Median with its 95 % interval; None for too few requests.
        p99_ms: 99th percentile; None for too few requests.
        exported_p99_ms: What was measured when the artifact was exported, for the stage that was.
    """

    stage: str
    requests: int
    p50_ms: Interval | None
    p99_ms: Interval | None
    exported_p99_ms: float | None = None

    @property
    def factor(self) -> float | None:
        """How many times the exported 99th percentile it is."""
        if self.p99_ms is None or not self.exported_p99_ms:
            return None
        return self.p99_ms.value / self.exported_p99_ms


@dataclass
class Slowness:
    """Watches one number, window after window, and says since when it is confirmed to be too large.

    Args:
        most: The largest that is still right.
        windows: So many in a row must be above it.

    Attributes:
        since: When the first window of those began, once there are enough; None while all is well.
        worst: The largest estimate since then.
    """

    most: float
    windows: int = _WINDOWS
    since: float | None = None
    worst: float = 0.0
    _begins: list[float] = field(default_factory=list)
    _good: int = 0

    def add(self, interval: Interval | None, begin: float) -> bool:
        """Take one window.

        Args:
            interval: The estimate; None where there were too few requests to say anything, which changes nothing.
            begin: When the window began.

        Returns:
            Whether an alarm lasts.
        """
        if interval is None:
            return self.since is not None
        if interval.low > self.most:
            self._good = 0
            self._begins.append(begin)
            self.worst = max(self.worst, interval.value)
            if self.since is None and len(self._begins) >= self.windows:
                self.since = self._begins[0]
        else:
            self._good += 1
            if self.since is None or self._good >= self.windows:
                self.since, self.worst = None, 0.0
                self._begins.clear()
        return self.since is not None


def sure_quantile(counts: Sequence[int], bounds: Sequence[float], share: float) -> Interval | None:
    """`quantile` with the wide interval that alarms rest on."""
    return quantile(counts, bounds, share, _SURE)


def sure_share(failed: int, total: int) -> Interval:
    """`failing` with the wide interval that alarms rest on."""
    return failing(failed, total, _SURE)

"""From launches to latencies, speed-ups with intervals, and claims."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from deploykit.core.result import Interval, Latency
from deploykit.measuring.latency import Launch, Series
from deploykit.measuring.statistics import CONFIDENCE, holm, t_interval

#: Differences below this are not worth a claim.
MARGIN = 0.02
#: Half-width of the clone's interval at which no more launches are added.
_SHARP = 0.0125
#: Student's t for the launches that are wanted in the end; the spread of the clone's log-ratio on a quiet host, and how
#: many launches it is worth beside what was seen.
_T, _QUIET, _WORTH = 2.15, 0.004, 4
#: A speed-up known less precisely than this is not evidence.
_INCONCLUSIVE = 0.10
_TAIL_SAMPLES = 10
#: Bounds of what is not known, so that every number has a form in JSON: factors of e**±27.
_UNKNOWN = 27.0

BASELINE = "baseline"
CLONE = "clone"


@dataclass(frozen=True)
class Noise:
    """What two copies of the baseline differed by.

    Attributes:
        floor: Largest relative difference the interval still holds.
        noisy: The interval excludes 0, or is wider than ±2 %.
        interval: Log-ratio of clone to baseline.
    """

    floor: float
    noisy: bool
    interval: Interval


def log_ratios(launches: Sequence[Launch], key: str, reference: str) -> list[float]:
    """Log of reference latency / latency of ``key``: for each launch the median over its rounds."""
    import statistics

    found = []
    for launch in launches:
        one, other = launch.series.get(key), launch.series.get(reference)
        if one is None or other is None or not one.block_medians_ns or not other.block_medians_ns:
            continue
        pairs = zip(one.block_medians_ns, other.block_medians_ns, strict=False)
        found.append(statistics.median(math.log(theirs / ours) for ours, theirs in pairs))
    return found


def noise(launches: Sequence[Launch]) -> Noise:
    """The noise floor of a group of launches."""
    ratios = log_ratios(launches, CLONE, BASELINE)
    if len(ratios) < 2:
        return Noise(math.inf, noisy=True, interval=Interval(0.0, -math.inf, math.inf))
    interval = t_interval(ratios)
    floor = math.expm1(max(abs(interval.low), abs(interval.high)))
    return Noise(floor, not interval.low <= 0 <= interval.high or interval.half_width > MARGIN, interval)


def latencies(launches: Sequence[Launch], references: Mapping[str, str | None], cores: int = 0) -> dict[str, Latency]:
    """Latency of every key.

    Args:
        launches: Launches of one group.
        references: Key → key of float32 on the same runtime, None when there is none. Only these keys are returned.
        cores: Cores of the machine; 0 when unknown.
    """
    found_noise = noise(launches)
    margin = max(MARGIN, found_noise.floor)
    found: dict[str, Latency] = {}
    p_values: dict[tuple[str, str], float] = {}
    for key, reference in references.items():
        series = [s for launch in launches if (s := launch.series.get(key)) is not None and s.block_medians_ns]
        if not series:
            continue
        ratios = [0.0] if key == BASELINE else log_ratios(launches, key, BASELINE)
        same = log_ratios(launches, key, reference) if reference else []
        found[key] = _latency(key, series, ratios, same or None)
        found[key] = replace(
            found[key],
            noise_floor=min(found_noise.floor, math.exp(_UNKNOWN)),
            flags=_flags(found[key], series, found_noise, [launch for launch in launches if key in launch.series]),
            steal=_steal([launch for launch in launches if key in launch.series]),
        )
        if key != BASELINE:
            p_values[key, ""] = _beyond(ratios, math.log1p(min(margin, 10.0)))
        if same and reference not in (BASELINE, key):  # against the baseline it is the same question
            p_values[key, "technique"] = _beyond(same, math.log1p(min(margin, 10.0)))
    claims = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return {k: _claimed(v, claims.get((k, "")), claims.get((k, "technique")), margin) for k, v in found.items()}


def _claimed(latency: Latency, rejected: bool | None, technique: bool | None, margin: float) -> Latency:
    latency = replace(latency, claim="baseline" if rejected is None else _claim(latency.speedup, rejected, margin))
    same = latency.speedup_same_runtime
    if same is None or latency.claim == "baseline":
        return latency
    return replace(latency, technique_claim=latency.claim if technique is None else _claim(same, technique, margin))


def _latency(key: str, series: list[Series], ratios: list[float], same: list[float] | None) -> Latency:
    import numpy as np

    times = np.concatenate([np.asarray(s.times_ns, np.float64) for s in series]) / 1e6
    medians = [float(np.median(s.times_ns)) / 1e6 for s in series]
    runs = len(times)
    tail = runs * 0.01 >= _TAIL_SAMPLES
    return Latency(
        p50_ms=_finite(t_interval(medians)),
        p90_ms=float(np.quantile(times, 0.9)),
        p99_ms=float(np.quantile(times, 0.99)) if tail else None,
        speedup=Interval(1.0, 1.0, 1.0) if key == BASELINE else ratio_interval(ratios),
        speedup_same_runtime=ratio_interval(same) if same else None,
        cpu_ms=sum(s.cpu_ns for s in series) / runs / 1e6,
        launches=len(series),
        runs=runs,
        noise_floor=0.0,
        involuntary_switches=1000 * sum(s.switches for s in series) / runs,
    )


def ratio_interval(ratios: Sequence[float]) -> Interval:
    """Ratio with its interval from log-ratios, one for each launch."""
    logs = t_interval(ratios)
    return Interval(math.exp(logs.value), math.exp(max(logs.low, -_UNKNOWN)), math.exp(min(logs.high, _UNKNOWN)))


def _finite(interval: Interval) -> Interval:
    """Milliseconds with ends that can be written down."""
    most = interval.value * math.exp(_UNKNOWN)
    return Interval(interval.value, max(interval.low, -most), min(interval.high, most))


def _flags(latency: Latency, series: list[Series], found: Noise, launches: Sequence[Launch]) -> tuple[str, ...]:
    flags = []
    if found.noisy:
        flags.append("noisy")
    if latency.speedup.half_width > _INCONCLUSIVE * latency.speedup.value:
        flags.append("inconclusive")
    if sum(not s.warm for s in series) > len(series) / 2:
        flags.append("not warm")
    if any(launch.slowed for launch in launches):
        flags.append("throttled")
    return tuple(flags)


def _steal(launches: Sequence[Launch]) -> float:
    seconds = sum(launch.seconds for launch in launches)
    return sum(launch.steal_seconds for launch in launches) / seconds if seconds else 0.0


def _beyond(ratios: list[float], margin: float) -> float:
    """p-value against "the ratio lies within ± margin" (one-sided t-test towards the observed side, doubled)."""
    import numpy as np
    from scipy.special import stdtr

    array = np.asarray(ratios)
    if len(array) < 2:
        return 1.0
    spread = float(array.std(ddof=1)) / math.sqrt(len(array))
    excess = abs(float(array.mean())) - margin
    if spread == 0:
        return 0.0 if excess > 0 else 1.0
    return min(1.0, 2 * float(stdtr(len(array) - 1, -excess / spread)))


def _claim(ratio: Interval, rejected: bool, margin: float) -> Literal["faster", "slower", "same", "unclear"]:
    if rejected:
        return "faster" if ratio.value > 1 else "slower"
    return "same" if ratio.low > 1 / (1 + margin) and ratio.high < 1 + margin else "unclear"


def steady(launches: Sequence[Launch]) -> bool:
    """Whether these launches are enough: the clone is like the baseline, within an interval that is narrow enough."""
    found = noise(launches)
    return not found.noisy and found.interval.half_width <= _SHARP


def launches_needed(launches: Sequence[Launch], asked: int, most: int) -> int:
    """How many launches it will take until they are `steady`, by what these have shown.

    A disturbance in one launch stays in the spread. Later launches are assumed to be as noisy as these; the more
    launches there are, the safer the assumption.

    Args:
        launches: Launches so far.
        asked: Launches that are made at least.
        most: Launches that are made at most.
    """
    import statistics

    ratios = log_ratios(launches, CLONE, BASELINE)
    done = len(ratios)
    squares = statistics.pvariance(ratios) * done if done > 1 else 0.0
    each = (_WORTH * _QUIET**2 + squares) / (_WORTH + max(0, done - 1))
    least = max(asked, done, 2)
    if done >= asked and not steady(launches):
        least += 1
    for count in range(least, most):
        variance = (squares + (count - done) * each) / (count - 1)
        if _T * math.sqrt(variance / count) <= _SHARP:
            return count
    return max(least, most)


__all__ = [
    "BASELINE",
    "CLONE",
    "CONFIDENCE",
    "MARGIN",
    "Noise",
    "latencies",
    "launches_needed",
    "log_ratios",
    "noise",
    "steady",
]

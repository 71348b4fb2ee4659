"""From launches to what a model takes of its host, with intervals over launches."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence

from deploykit.core.result import Footprint, Interval, LengthTime
from deploykit.measuring.latency import Launch, Series
from deploykit.measuring.ratios import BASELINE, ratio_interval


def footprints(launches: Sequence[Launch], keys: Iterable[str]) -> dict[str, Footprint]:
    """Footprint of every key that was timed.

    Args:
        launches: Launches of one group, or of several on the same hardware.
        keys: Names of series.
    """
    found = {}
    for key in keys:
        series = [s for launch in launches if (s := launch.series.get(key)) is not None and s.times_ns]
        if series:
            found[key] = _footprint(series)
    return found


def length_times(launches: Sequence[Launch], key: str) -> tuple[LengthTime, ...]:
    """Latency of a series at each size that its target names, against the baseline's at the same size."""
    found = []
    for size in sorted({size for launch in launches for size in _sizes(launch, key)}, key=int):
        medians, ratios = [], []
        for launch in launches:
            own, base = (launch.series.get(k, Series()).lengths_ns.get(size, ()) for k in (key, BASELINE))
            if own:
                medians.append(statistics.median(own) / 1e6)
            if own and base:
                pairs = zip(base, own, strict=False)
                ratios.append(statistics.median(math.log(theirs / ours) for theirs, ours in pairs))
        speedup = Interval(1.0, 1.0, 1.0) if key == BASELINE else ratio_interval(ratios) if ratios else None
        found.append(LengthTime(int(size), ratio_interval([math.log(m) for m in medians]), speedup))
    return tuple(found)


def _sizes(launch: Launch, key: str) -> Iterable[str]:
    return launch.series.get(key, Series()).lengths_ns


def _footprint(series: Sequence[Series]) -> Footprint:
    loaded = [s for s in series if s.load_ns]
    warm = _interval(loaded, lambda s: s.load_ns / 1e6 if s.cached is None or s.cached == "warm" else None)
    cold = _interval(loaded, lambda s: s.load_ns / 1e6 if s.cached == "cold" else None)
    counted = [s for s in series if s.energy_runs and not s.write]
    energy = _interval(counted, lambda s: s.energy_uj / s.energy_runs / s.batch / 1e3)
    missing: dict[str, str] = {}
    if loaded and cold is None:
        missing["cold_load_ms"] = _why_not_cold(loaded)
    if any(s.write for s in series):
        missing["energy_mj"] = "it is not counted while a decoder writes"
    elif energy is None and (why := next((s.no_energy for s in series if s.no_energy), "")):
        missing["energy_mj"] = why
    if why := next((s.no_tokens for s in series if s.no_tokens), ""):
        missing["tokens_per_second"] = why
    return Footprint(
        load_ms=warm,
        cold_load_ms=cold,
        first_ms=_interval(series, lambda s: s.first_ns / 1e6 if s.first_ns else None),
        throughput=_interval(series, _per_second),
        memory_bytes=_interval(series, lambda s: float(s.peak_memory_bytes)),
        energy_mj=energy,
        energy_from=next((s.energy_from for s in counted), ""),
        missing=missing,
        tokens_per_second=_interval(series, lambda s: s.tokens * 1e9 / s.tokens_ns if s.tokens else None),
    )


def _per_second(series: Series) -> float | None:
    """Whole answers for each second: of a decoder that writes, texts, each read and then written one by one."""
    if not series.batch or (series.write and not (series.tokens and series.batch == 1)):
        return None
    run = sum(series.times_ns) / len(series.times_ns)
    if series.write:
        run += (series.write - 1) * series.tokens_ns / series.tokens
    return series.batch * 1e9 / run


def _why_not_cold(loaded: Sequence[Series]) -> str:
    if len(loaded) < 2:
        return "every second launch loads cold, and there was one launch"
    if all(s.cached is None for s in loaded):
        return "this system does not say whether a file is in its cache"
    return "the file stays in the system's cache: another process uses it, or its file system is in memory"


def _interval(series: Sequence[Series], value: Callable[[Series], float | None]) -> Interval | None:
    """Geometric mean over launches with its t-interval over their logarithms; None when no launch has a value.

    Times of loading have a long tail: on a linear scale, intervals of few launches would reach below zero.
    """
    values = [v for s in series if (v := value(s)) is not None]
    if not values:
        return None
    if min(values) <= 0:  # memory that did not grow
        return Interval(sum(values) / len(values), min(values), max(values))
    return ratio_interval([math.log(v) for v in values])

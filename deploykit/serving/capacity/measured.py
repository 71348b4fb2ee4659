"""Measures what the queueing model needs of a worker, and a real server under load to compare it with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploykit.core.serial import Plain
from deploykit.core.settings.serving import ServingSettings
from deploykit.serving.capacity.queueing import WorkerSpeed, spread_of
from deploykit.serving.tuning.grid import TuningPoint
from deploykit.serving.tuning.measuring import Bench

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Requests at once at which a worker's rate is measured.
AT_ONCE = (1, 2, 3, 4, 6, 8, 12, 16, 32)


@dataclass(frozen=True)
class MeasuredWorker(Plain):
    """One worker, as it was measured.

    Attributes:
        speed: Its rates and how much the times of requests differ.
        alone_p50_ms: Median time of a request that is alone.
        alone_p99_ms: 99th percentile of that.
        cpu_us: CPU time of a request at the highest rate, microseconds.
        memory_bytes: Resident memory.
    """

    speed: WorkerSpeed
    alone_p50_ms: float
    alone_p99_ms: float
    cpu_us: float
    memory_bytes: int


def worker(
    bench: Bench, source: str, settings: ServingSettings, rounds: int, say: Callable[[int, int], None]
) -> MeasuredWorker:
    """Measure one worker: closed loops of more and more connections, in turns, so that all meet the same machine.

    Args:
        bench: What measures.
        source: Name of the artifact there.
        settings: Those of the server; of one worker.
        rounds: Rounds of each number of connections; the median counts.
        say: Called with rounds done and of all.
    """
    import numpy as np

    points = [TuningPoint(source, settings, number) for number in AT_ONCE]
    rates: dict[int, list[float]] = {number: [] for number in AT_ONCE}
    alone: list[NDArray[np.floating]] = []
    cpu: list[float] = []
    for turn in range(rounds):
        for place, point in enumerate(points):
            found, times = bench.timed(point, rates[point.concurrency][-1] if turn else 0.0)
            rates[point.concurrency].append(found.rate)
            cpu.append(found.cpu_us)
            if point.concurrency == 1:
                alone.append(times)
            say(turn * len(points) + place + 1, rounds * len(points))
    single = np.concatenate(alone)
    medians = {number: float(np.median(found)) for number, found in rates.items()}
    busiest = AT_ONCE.index(max(medians, key=lambda number: medians[number]))
    return MeasuredWorker(
        WorkerSpeed(tuple(medians.items()), spread_of(single)),
        float(np.quantile(single, 0.5)) * 1000,
        float(np.quantile(single, 0.99)) * 1000,
        float(np.median(cpu[busiest :: len(points)])),
        bench.memory(points[0]),
    )


def loaded(
    bench: Bench, source: str, settings: ServingSettings, rates: Sequence[float], seconds: float, seed: int = 0
) -> list[NDArray[np.floating]]:
    """Times of a real server's answers, seconds, to requests that arrive at random, for some rates."""
    point = TuningPoint(source, settings, 1)
    return [bench.arriving(point, rate, seconds, seed + number) for number, rate in enumerate(rates)]

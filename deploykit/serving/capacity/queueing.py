"""A queueing model of workers, with service times that were measured.

A worker is a queue whose speed depends on how many requests it has (a flow-equivalent server): it may join several in
one batch, and while one is on its way, the next one runs. Requests arrive at random times (a Poisson process). The
times that they take are simulated, since a 99th percentile has no formula for such a queue.

Sources: Chandy, Herzog and Woo, "Parametric analysis of queuing networks" (1975), for the flow-equivalent server;
Kleinrock, "Queueing Systems" (1975), for the formulas of M/M/c and M/G/1.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from deploykit.core.serial import Plain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: How requests get to workers: at random, as connections do, or to the one that has fewest.
Balancing = Literal["random", "least"]
#: Share of the simulated requests at the beginning that do not count: queues are empty then.
_SETTLE = 0.02


@dataclass(frozen=True)
class WorkerSpeed(Plain):
    """How fast one worker is.

    Attributes:
        rates: Number of requests at once → answers a second, for some numbers, the smallest one first. In between they
            are interpolated; beyond the last, they stay.
        spread: Quantiles of one request's time, divided by its mean, evenly spaced: how much times differ.
    """

    rates: tuple[tuple[int, float], ...]
    spread: tuple[float, ...] = (1.0,)

    @property
    def highest(self) -> float:
        """The highest rate that was measured, answers a second."""
        return max(rate for _, rate in self.rates)

    @property
    def variation(self) -> float:
        """Squared coefficient of variation of a request's time."""
        mean = sum(self.spread) / len(self.spread)
        return sum((s - mean) ** 2 for s in self.spread) / len(self.spread) / mean**2

    def seconds(self) -> list[float]:
        """Time of a mean request by the number of requests at once; the first entry is not used."""
        import numpy as np

        numbers, rates = zip(*self.rates, strict=True)
        return [math.inf, *(1 / np.interp(np.arange(1, numbers[-1] + 1), numbers, rates)).tolist()]


def simulate(
    speed: WorkerSpeed,
    rate: float,
    *,
    workers: int = 1,
    balancing: Balancing = "random",
    requests: int = 50_000,
    seed: int = 0,
) -> NDArray[np.floating]:
    """Times from a request's arrival to its answer, seconds, in the order of the answers.

    Args:
        speed: Of each worker.
        rate: Requests a second of all workers together.
        workers: How many there are, each with its own queue.
        balancing: Which worker gets a request.
        requests: How many are simulated.
        seed: Of arrivals and times. With the same one, a higher rate has the same requests sooner.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    arrivals = (np.cumsum(rng.exponential(1.0, requests)) / rate).tolist()
    work = rng.choice(np.asarray(speed.spread) / np.mean(speed.spread), requests).tolist()
    chosen = rng.integers(0, workers, requests).tolist() if balancing == "random" else []
    seconds = speed.seconds()
    most = len(seconds) - 1
    queues: list[deque[int]] = [deque() for _ in range(workers)]
    ends: list[tuple[float, int]] = []  # when the first request of a worker's queue is answered
    found = []

    def begin(worker: int, now: float) -> None:
        queue = queues[worker]
        heapq.heappush(ends, (now + work[queue[0]] * seconds[min(len(queue), most)], worker))

    def answer() -> None:
        now, worker = heapq.heappop(ends)
        found.append(now - arrivals[queues[worker].popleft()])
        if queues[worker]:
            begin(worker, now)

    for number, now in enumerate(arrivals):
        while ends and ends[0][0] <= now:
            answer()
        worker = chosen[number] if chosen else min(range(workers), key=lambda w: len(queues[w]))
        queues[worker].append(number)
        if len(queues[worker]) == 1:
            begin(worker, now)
    while ends:
        answer()
    return np.asarray(found[int(_SETTLE * requests) :])


def waiting(rate: float, mean: float, variation: float, servers: int) -> float:
    """Mean time that a request waits in one queue before several equal servers (M/G/c), seconds.

    Exact for one server (Pollaczek and Khinchine) and for exponential times (Erlang's C); else Allen and Cunneen's
    approximation. Infinite where there are more requests than can be answered.

    Args:
        rate: Requests a second.
        mean: Mean time of a request, seconds.
        variation: Squared coefficient of variation of that time; 1 for exponential times, 0 for constant ones.
        servers: How many there are.

    Example:
        >>> from deploykit.serving.capacity.queueing import waiting
        >>> waiting(rate=50, mean=0.01, variation=1, servers=1)  # M/M/1 at half its rate: as long as a request takes
        0.01
    """
    load = rate * mean
    if load >= servers:
        return math.inf
    # Erlang's B by its recursion, then C: the probability that a request must wait.
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = load * blocked / (number + load * blocked)
    busy = blocked / (1 - load / servers * (1 - blocked))
    return busy * mean / (servers - load) * (1 + variation) / 2


def quantile_ms(times: NDArray[np.floating], share: float) -> float:
    """A quantile of times, milliseconds."""
    import numpy as np

    return float(np.quantile(times, share)) * 1000


def highest_rate(speed: WorkerSpeed, p99_ms: float, *, most: float = 1.0, seed: int = 0) -> float:
    """The highest rate of one worker whose 99th percentile holds, requests a second; 0 where none does.

    Args:
        speed: Of the worker.
        p99_ms: The limit.
        most: Share of its highest rate that is not exceeded.
        seed: Of the simulation.
    """
    low, high = 0.0, most
    if quantile_ms(simulate(speed, high * speed.highest, seed=seed), 0.99) <= p99_ms:
        return high * speed.highest
    for _ in range(9):
        middle = (low + high) / 2
        if quantile_ms(simulate(speed, middle * speed.highest, seed=seed), 0.99) <= p99_ms:
            low = middle
        else:
            high = middle
    return low * speed.highest


def spread_of(times: Sequence[float] | NDArray[np.floating], steps: int = 200) -> tuple[float, ...]:
    """`WorkerSpeed.spread` of measured times: quantiles in the middle of so many equal parts, divided by their mean."""
    import numpy as np

    parts = np.quantile(np.asarray(times, float), (np.arange(steps) + 0.5) / steps)
    return tuple((parts / parts.mean()).tolist())

"""Evaluating in chunks, and stopping a candidate whose loss is confirmed to be too large.

A candidate is compared with the original model example by example, in a random order that is the same for all of them.
After 64, 128, 256 … examples the mean loss gets a lower bound that holds at all of these looks together with 99 %
probability. Only a candidate whose bound passes a limit is stopped; the others get all of the data, so what is said of
them is the same as without racing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import Contract
from deploykit.core.mapped import taken
from deploykit.core.serial import Plain
from deploykit.measuring.answers import read_as
from deploykit.metrics._contract import METRICS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Probability that a candidate is stopped though its loss is within the limit.
ERROR = 0.01
#: Examples before the first look; each further look comes after twice as many.
FIRST = 64
#: Batches whose outputs are held until they are compared.
_MOST_WAITING = 256


@dataclass(frozen=True)
class Race(Plain):
    """The loss at which a candidate is stopped once it is confirmed.

    Attributes:
        metric: Name of the metric; it must be one of hits and misses.
        original: File (``.npy``) of the original's outputs on the evaluation split.
        max_drop: Largest loss allowed.
        rival: Key of a finished candidate confirmed to cost no more on the same target, "" when there is none.
        rival_drop: The far end of the rival's loss: a larger loss is dominated.
    """

    metric: str
    original: str
    max_drop: float
    rival: str = ""
    rival_drop: float = 1.0

    @property
    def limit(self) -> float:
        """The smaller of both limits."""
        return min(self.max_drop, self.rival_drop) if self.rival else self.max_drop

    def stops(self, found: Stopped) -> bool:
        """Whether what an earlier race found would stop the candidate in this one."""
        return found.metric == self.metric and (found.low > self.limit or bool(found.rival))


@dataclass(frozen=True)
class Stopped(Plain):
    """Why and when a candidate was stopped.

    Attributes:
        examples: Examples it was evaluated on.
        drop: Its mean loss on them.
        low: Lower bound of the loss: what is sure.
        metric: Name of the metric.
        value: Mean of the metric on these examples.
        rival: Key of the candidate that dominates it, "" when it is ``max_drop`` that it misses.
    """

    examples: int
    drop: float
    low: float
    metric: str
    value: float
    rival: str = ""


def looks(count: int) -> list[int]:
    """After how many of ``count`` examples a candidate is looked at; the last look has them all."""
    found = []
    size = FIRST
    while size < count:
        found.append(size)
        size *= 2
    return [*found, count]


def lower_bound(losses: NDArray[np.float64], total: int, look: int) -> float:
    """A bound that the mean loss is confirmed to exceed.

    The larger of the empirical Bernstein bound (Maurer and Pontil, COLT 2009, theorem 4) for losses between -1 and 1,
    with the error spread over all looks, and the mean over all examples if all that are left were perfect.

    Args:
        losses: Losses of the examples so far: 1 where only the original is right, -1 where only the candidate is.
        total: Size of the whole split.
        look: Number of this look, from 1.
    """
    count, mean = len(losses), float(losses.mean())
    certain = (count * mean - (total - count)) / total
    if count < 2:
        return certain
    log = math.log(2 * look * (look + 1) / ERROR)
    spread = math.sqrt(2 * float(losses.var(ddof=1)) * log / count)
    return max(certain, mean - spread - 7 * 2 * log / (3 * (count - 1)))


class Racer:
    """Watches one candidate.

    Args:
        race: The limits.
        labels: Labels of the whole split, None when there are none.
        original: The original's scored output for the whole split.
        order: Places of the examples in the split, in the order of evaluation.
        contract: How outputs are read.
    """

    def __init__(
        self,
        race: Race,
        labels: NDArray[Any] | None,
        original: NDArray[Any],
        order: NDArray[np.int64],
        contract: Contract,
    ) -> None:
        self._race = race
        self._contract = contract
        self._metric = METRICS.get(race.metric)
        self._labels = labels if self._metric.truth == "labels" else None
        self._original = original
        self._order = order
        self._looks = looks(len(order))[:-1]
        self._waiting: list[NDArray[Any]] = []
        self._values: list[NDArray[np.int8]] = []  # hits and misses
        self._losses: list[NDArray[np.int8]] = []
        self._done = 0

    def look(self, outputs: NDArray[Any]) -> Stopped | None:
        """Whether to stop after these outputs, which follow those of the calls before."""
        import numpy as np

        self._waiting.append(outputs)
        done = self._done + sum(map(len, self._waiting))
        if done not in self._looks:
            if len(self._waiting) >= _MOST_WAITING:
                self._take(done)
            return None
        self._take(done)
        losses = np.concatenate(self._losses).astype(np.float64)
        low = lower_bound(losses, len(self._order), self._looks.index(done) + 1)
        if low <= self._race.limit:
            return None
        rival = self._race.rival if low <= self._race.max_drop else ""
        mean = float(np.concatenate(self._values).mean(dtype=np.float64))
        return Stopped(done, float(losses.mean()), low, self._race.metric, mean, rival)

    def _take(self, done: int) -> None:
        """Compare the outputs that wait with the original's."""
        import numpy as np

        places = self._order[self._done : done]
        before = read_as(taken(self._original, places), self._contract)
        truth = before if self._labels is None else taken(self._labels, places)
        values = self._metric.values(read_as(np.concatenate(self._waiting), self._contract), truth)
        losses = self._metric.values(before, truth) - values
        self._values.append(values.astype(np.int8))
        self._losses.append((losses if self._metric.higher_is_better else -losses).astype(np.int8))
        self._waiting, self._done = [], done

"""Evaluating in chunks, and stopping a candidate whose loss is confirmed to be too large.

A candidate is compared with the original model example by example, in a random order that is the same for all of them.
After 64, 128, 256 … examples the mean loss gets a lower bound that holds at all of these looks together with 99 %
probability. Only a candidate whose bound passes a limit is stopped; the others get all of the data, so what is said of
them is the same as without racing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import Contract
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
        truth: Labels of the whole split in the order of evaluation, None when there are none.
        original: The original's scored output in the order of evaluation.
        contract: How it is read.
    """

    def __init__(self, race: Race, truth: NDArray[Any] | None, original: NDArray[Any], contract: Contract) -> None:
        self._race = race
        self._contract = contract
        self._metric = METRICS.get(race.metric)
        original = read_as(original, contract)
        self._truth = truth if self._metric.truth == "labels" and truth is not None else original
        self._total = len(original)
        self._baseline = self._metric.values(original, self._truth)
        self._looks = looks(self._total)[:-1]

    def look(self, parts: Sequence[NDArray[Any]], done: int) -> Stopped | None:
        """Whether to stop after ``done`` examples whose outputs are in ``parts``."""
        import numpy as np

        if done not in self._looks:
            return None
        values = self._metric.values(read_as(np.concatenate(parts), self._contract), self._truth[:done])
        losses = self._baseline[:done] - values
        if not self._metric.higher_is_better:
            losses = -losses
        low = lower_bound(losses, self._total, self._looks.index(done) + 1)
        if low <= self._race.limit:
            return None
        rival = self._race.rival if low <= self._race.max_drop else ""
        return Stopped(done, float(losses.mean()), low, self._race.metric, float(values.mean()), rival)

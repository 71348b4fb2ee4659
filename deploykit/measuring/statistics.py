"""Intervals and tests for paired comparisons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.result import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONFIDENCE = 0.95


def t_interval(values: Sequence[float] | NDArray[Any], confidence: float = CONFIDENCE) -> Interval:
    """Mean with Student's t-interval; with fewer than two values the interval is infinite."""
    import numpy as np

    array = np.asarray(values, np.float64)
    spread = float(array.std(ddof=1)) if len(array) > 1 else 0.0
    return t_interval_of(float(array.mean()), spread, len(array), confidence)


def t_interval_of(mean: float, deviation: float, count: int, confidence: float = CONFIDENCE) -> Interval:
    """As `t_interval`, of values whose mean and standard deviation (by n - 1) are known."""
    from scipy.special import stdtrit

    if count < 2:
        return Interval(mean, -math.inf, math.inf)
    half = float(stdtrit(count - 1, (1 + confidence) / 2)) * deviation / math.sqrt(count)
    return Interval(mean, mean - half, mean + half)


def t_test(values: Sequence[float], center: float = 0.0) -> float:
    """Two-sided p-value of Student's one-sample t-test."""
    import numpy as np

    array = np.asarray(values, np.float64) - center
    return t_test_of(float(array.mean()), float(array.std(ddof=1)), len(array)) if len(array) > 1 else 1.0


def t_test_of(mean: float, deviation: float, count: int) -> float:
    """As `t_test` against 0, of values whose mean and standard deviation (by n - 1) are known."""
    from scipy.special import stdtr

    if count < 2:
        return 1.0
    spread = deviation / math.sqrt(count)
    if spread == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stdtr(count - 1, -abs(mean) / spread))


def paired_binary(better: int, worse: int, count: int) -> tuple[Interval, float]:
    """Difference of two paired proportions.

    The interval is Bonett and Price's adjusted Wald interval (J. Educ. Behav. Stat. 37, 2012), which stays honest when
    few or no pairs differ; the p-value is McNemar's exact test.

    Args:
        better: Pairs in which only the second is a hit.
        worse: Pairs in which only the first is a hit.
        count: All pairs.

    Returns:
        Second minus first proportion with its 95 % interval, and the p-value.
    """
    from scipy.special import bdtr, ndtri

    value = (better - worse) / count
    low, high = paired_shares(better, worse, count, float(ndtri((1 + CONFIDENCE) / 2)))
    discordant = better + worse
    p_value = 1.0 if discordant == 0 else min(1.0, 2 * float(bdtr(min(better, worse), discordant, 0.5)))
    return Interval(value, min(low, value), max(high, value)), p_value


def paired_shares(better: float, worse: float, count: float, quantile: float) -> tuple[float, float]:
    """The ends of the interval of `paired_binary`.

    Args:
        better: Pairs in which only the second is a hit.
        worse: Pairs in which only the first is a hit.
        count: All pairs.
        quantile: How many standard errors it is wide, to each side.
    """
    up, down = (better + 1) / (count + 2), (worse + 1) / (count + 2)
    half = quantile * math.sqrt(max(up + down - (up - down) ** 2, 0.0) / (count + 2))
    return max(-1.0, up - down - half), min(1.0, up - down + half)


def share(hits: float, count: float, quantile: float = 0.0) -> Interval:
    """A proportion with Wilson's 95 % score interval (J. Am. Stat. Assoc. 22, 1927).

    Args:
        hits: How many are hits.
        count: Of how many.
        quantile: How many standard errors it is wide, to each side; 0: the normal distribution's.
    """
    from scipy.special import ndtri

    z = quantile or float(ndtri((1 + CONFIDENCE) / 2))
    value = hits / count
    center = (value + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(value * (1 - value) / count + (z / (2 * count)) ** 2)
    return Interval(value, min(value, max(0.0, center - half)), max(value, min(1.0, center + half)))


def holm(p_values: Sequence[float], level: float = 1 - CONFIDENCE) -> list[bool]:
    """Which hypotheses Holm's step-down procedure rejects."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    rejected = [False] * len(p_values)
    for rank, i in enumerate(order):
        if p_values[i] > level / (len(p_values) - rank):
            break
        rejected[i] = True
    return rejected

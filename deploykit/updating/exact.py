"""Whether a paired loss is above or below a margin: exact for hits and misses, and how many examples that takes.

Hits and misses: of n examples, ``worse`` are right by the incumbent alone and ``better`` by the challenger alone. The
drop is their difference over n. What the test does not ask for, the share of examples on which only one is right, is a
nuisance: the p-value is the largest one over all of its values that a confidence bound allows, plus that bound's error
(Berger and Boos, JASA 89, 1994). So the error rates hold for every n and every nuisance, not only for large ones.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Share of the error rate that the bound of the nuisance may use.
_SPENT = 0.1
#: Values of the nuisance that are tried at first, and around the worst of them.
_GRID, _FINE = 13, 5
#: Standard deviations of the number of examples that are summed; the rest is counted against the claim.
_WIDE = 6.5
#: Values of the number of differing examples at which the power is worked out.
_NODES = 5
#: Most examples that are asked for: more is said to be too many.
MOST = 10_000_000
#: Fewest examples for a metric that is not of hits and misses: its t-test leans on their mean being nearly normal.
LEAST_OF_VALUES = 30
_RESAMPLES = 4000
#: What is claimed: a drop below the margin, or above it.
_BELOW, _ABOVE = 0, 1


def paired_tests(better: int, worse: int, count: int, margin: float, alpha: float) -> tuple[float, float]:
    """p-values of "the drop is at least the margin" and of "the drop is at most the margin".

    Args:
        better: Examples that only the challenger gets right.
        worse: Examples that only the incumbent gets right.
        count: All examples.
        margin: Share of examples, above 0.
        alpha: The error rate they will be compared with.

    Returns:
        Small ones show that the drop is below the margin, or that it is above it.
    """
    return _test(better, worse, count, margin, alpha, _BELOW), _test(better, worse, count, margin, alpha, _ABOVE)


def _test(better: int, worse: int, count: int, margin: float, alpha: float, side: int) -> float:
    """The p-value of one side: of a drop that is at least the margin (`_BELOW`), or at most (`_ABOVE`)."""
    import numpy as np
    from scipy.special import betaincinv

    gamma = _SPENT * alpha
    differing = better + worse
    most = 1.0 if differing == count else float(betaincinv(differing + 1, count - differing, 1 - gamma))
    if most < margin and side == _BELOW:
        return gamma  # so few differ that the drop cannot be as large
    shares = np.geomspace(margin, max(most, margin * (1 + 1e-9)), _GRID)
    found = [_tail(worse - better, count, share, margin, side) for share in shares]
    worst = int(np.argmax(found))
    near = np.geomspace(shares[max(worst - 1, 0)], shares[min(worst + 1, _GRID - 1)], _FINE)[1:-1]
    return min(1.0, max(found[worst], *(_tail(worse - better, count, share, margin, side) for share in near)) + gamma)


def _tail(difference: int, count: int, share: float, margin: float, side: int) -> float:
    """Probability of a difference (worse − better) as small or as large as the one seen, when the drop is the margin.

    Args:
        difference: What was seen.
        count: All examples.
        share: Probability that an example differs.
        margin: The drop.
        side: `_BELOW` or `_ABOVE`.
    """
    numbers, weights, left = _differing(count, share)
    return float(weights @ _chances(difference, numbers, min(1.0, (1 + margin / share) / 2), side)) + left


def _chances(difference: Any, numbers: NDArray[np.float64], theta: float, side: int) -> NDArray[np.float64]:
    """Probabilities of a difference at most (`_BELOW`) or at least the one given, for numbers of differing examples.

    Args:
        difference: One for all, or one for each number.
        numbers: How many examples differ.
        theta: Probability that one that differs is one of the worse.
        side: `_BELOW` or `_ABOVE`.
    """
    import numpy as np
    from scipy.special import bdtr, bdtrc

    whole = numbers.astype(np.int64)
    edge = (difference + numbers) / 2  # worse = (difference + differing) / 2
    if side == _BELOW:
        most = np.floor(edge)
        return np.where(most < 0, 0.0, bdtr(np.clip(most, 0, numbers), whole, theta))
    least = np.ceil(edge)
    found = np.where(least > numbers, 0.0, bdtrc(np.clip(least, 1, np.maximum(numbers, 1)) - 1, whole, theta))
    return np.where(least <= 0, 1.0, found)


def _differing(count: int, share: float) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Numbers of differing examples, their probabilities, and the probability of all other numbers."""
    import numpy as np
    from scipy.special import gammaln, xlog1py, xlogy

    spread = _WIDE * math.sqrt(count * share * (1 - share)) + _WIDE**2 / 3
    low, high = max(0, math.floor(count * share - spread)), min(count, math.ceil(count * share + spread))
    numbers = np.arange(low, high + 1, dtype=np.float64)
    logs = gammaln(count + 1) - gammaln(numbers + 1) - gammaln(count - numbers + 1)
    weights = np.exp(logs + xlogy(numbers, share) + xlog1py(count - numbers, -share))
    return numbers, weights, max(0.0, 1.0 - float(weights.sum()))


def upper_share(differing: int, count: int, error: float = 0.1) -> float:
    """Upper confidence bound (Clopper and Pearson) of the share of examples that differ."""
    from scipy.special import betaincinv

    return 1.0 if differing >= count else float(betaincinv(differing + 1, count - differing, 1 - error))


@lru_cache
def least_examples(margin: float, alpha: float) -> int:
    """Fewest examples with which a challenger that gives all of the incumbent's answers is shown to be within it."""
    low, high = 1, 2
    while _test(0, 0, high, margin, alpha, _BELOW) > alpha:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _test(0, 0, middle, margin, alpha, _BELOW) <= alpha else (middle, high)
    return high


@lru_cache
def examples_needed(margin: float, share: float, alpha: float, power: float) -> int | None:
    """Examples with which both is decided with the power: no drop at all, and a drop of twice the margin.

    Args:
        margin: Share of examples.
        share: Share of examples on which only one of both is right.
        alpha: Error rate of each decision.
        power: Probability of the right decision.

    Returns:
        The number, rounded up to two digits; None if it is more than `MOST`.
    """
    from scipy.special import ndtri

    z = float(ndtri(1 - alpha) + ndtri(power))
    twice = min(2 * margin, 1.0)
    drops = ((0.0, share), (twice, max(share, twice)))
    wanted = [math.ceil(z * z * (differ - drop * drop) / margin**2) for drop, differ in drops]
    count = _rounded_up(max(least_examples(margin, alpha), *wanted))
    while count <= MOST:
        if all(_power(count, margin, differ, drop, alpha) >= power for drop, differ in reversed(drops)):
            return count
        count = _rounded_up(math.ceil(1.04 * count))
    return None


def _rounded_up(count: int) -> int:
    unit = int(10 ** max(0, len(str(count)) - 2))
    return unit * math.ceil(count / unit)


def _power(count: int, margin: float, share: float, drop: float, alpha: float) -> float:
    """Probability that the right one of both claims is made."""
    import numpy as np

    if not share:
        return float(count >= least_examples(margin, alpha))
    numbers, weights, _ = _differing(count, share)
    heavy = numbers[weights > 1e-4 * weights.max()]
    nodes = np.unique(np.round(np.linspace(heavy[0], heavy[-1], _NODES)))
    side = _BELOW if drop < margin else _ABOVE
    limits = np.interp(numbers, nodes, [_limit(int(n), count, margin, alpha, side) for n in nodes])
    return float(weights @ _chances(limits, numbers, min(1.0, (1 + drop / share) / 2), side))


def _limit(differing: int, count: int, margin: float, alpha: float, side: int) -> int:
    """The largest (`_BELOW`) or smallest (`_ABOVE`) difference that is claimed, of so many examples that differ."""

    def claimed(worse: int) -> bool:
        return _test(differing - worse, worse, count, margin, alpha, side) <= alpha

    low, high = -1, differing + 1  # for `_BELOW` claimed at low and not at high, for `_ABOVE` the other way round
    middle, step = round((differing + count * margin) / 2), max(2, round(math.sqrt(differing)))  # it is near the margin
    middle = min(max(middle + (-step if side == _BELOW else step), 0), differing)
    while high - low > 1:
        if claimed(middle) == (side == _BELOW):
            low = middle
        else:
            high = middle
        far = high - low > 2 * step
        middle = (low + high) // 2 if not far else low + step if low >= 0 and high > differing else max(high - step, 0)
        if not low < middle < high:
            middle = (low + high) // 2
    return 2 * (low if side == _BELOW else high) - differing


def value_tests(losses: NDArray[Any], seed: int = 0) -> tuple[float, float]:
    """p-values of "the mean is at least 0" and of "the mean is at most 0", for numbers of any distribution.

    No test of a mean is exact without a bound on the numbers, so the larger one of two p-values counts: Student's t,
    and the studentized bootstrap (Efron and Tibshirani 1993, chapter 12), which follows the skewness of the numbers.

    Args:
        losses: One for each example, shape (examples,).
        seed: Of the bootstrap.
    """
    import numpy as np
    from scipy.special import stdtr

    count, mean = len(losses), float(losses.mean())
    spread = float(losses.std(ddof=1)) / math.sqrt(count) if count > 1 else math.inf
    if spread == 0:
        return (0.0 if mean < 0 else 1.0), (0.0 if mean > 0 else 1.0)
    if count < LEAST_OF_VALUES:
        return 1.0, 1.0
    t = mean / spread
    rng = np.random.default_rng(seed)
    centered = losses - mean
    drawn = []
    for _ in range(_RESAMPLES):
        again = centered[rng.integers(0, count, count)]
        deviation = float(again.std(ddof=1))
        drawn.append(float(again.mean()) / deviation * math.sqrt(count) if deviation else 0.0)
    found = np.asarray(drawn)
    below = (1 + int((found <= t).sum())) / (1 + _RESAMPLES)
    above = (1 + int((found >= t).sum())) / (1 + _RESAMPLES)
    return max(below, float(stdtr(count - 1, t))), max(above, float(stdtr(count - 1, -t)))


def values_needed(spread: float, margin: float, alpha: float, power: float) -> int | None:
    """Examples that distinguish a mean from one that is further by the margin; None if more than `MOST`.

    Args:
        spread: Standard deviation of the losses.
        margin: In the same units.
        alpha: Error rate.
        power: Probability of the right decision.
    """
    from scipy.special import ndtri

    wanted = max(LEAST_OF_VALUES, math.ceil((float(ndtri(1 - alpha) + ndtri(power)) * spread / margin) ** 2))
    return _rounded_up(wanted) if wanted <= MOST else None

"""How sure the change of a pooled metric is: a paired bootstrap over examples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from deploykit.core.result import Interval
from deploykit.measuring.grouped import as_groups, numbered
from deploykit.measuring.statistics import CONFIDENCE, t_test
from deploykit.metrics._contract import Parts, Pooled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Times that the examples are drawn.
DRAWS = 2000
#: Weights held at a time.
_HELD = 2_000_000
#: Share of the draws that may leave the metric undefined; the others say nothing of its spread then.
_UNDEFINED = 0.1


def paired_change(
    metric: Pooled, after: Parts, before: Parts, *, draws: int = DRAWS, seed: int = 0,
    groups: NDArray[Any] | None = None,
) -> tuple[float, Interval, float]:  # fmt: skip
    """A pooled metric, its change against a baseline on the same examples, and how likely chance makes such a one.

    Examples are drawn with replacement, the same ones for both models; where they come in groups, whole groups are. The
    interval is the bias-corrected and accelerated one (Efron, J. Am. Stat. Assoc. 82, 1987); the p-value is that of
    Student's t-test of the jackknife's pseudo-values.

    Args:
        metric: The metric.
        after: What the examples contribute for the candidate.
        before: The same for the baseline.
        draws: How often the examples are drawn.
        seed: Of the draws: equal data give equal intervals.
        groups: What each example is a part of, None where examples stand for themselves.

    Returns:
        The candidate's value; its change, relative to the baseline's where the metric is; and the p-value.
    """
    import numpy as np

    count = len(next(iter(after.values())))
    ones = np.ones((1, count))
    value, level = float(metric.pool(after, ones)[0]), float(metric.pool(before, ones)[0])
    change = float(_change(metric, np.array(value), np.array(level)))
    own, its = metric.pseudo_values(after), metric.pseudo_values(before)
    adds = (own - (value / level) * its) / level if metric.relative and level else own - its
    moved, drawn_of = own - its, numbered(groups)
    if drawn_of is not None:
        adds, moved = as_groups(adds, drawn_of), as_groups(moved, drawn_of)
    p_value, units = t_test(moved.tolist()), len(adds)
    if not np.ptp(adds):
        return value, Interval(change, change, change) if units > 1 else _unknown(change), p_value
    rng = np.random.default_rng(seed)
    found = []
    step = max(1, _HELD // count)
    for first in range(0, draws, step):
        weights = rng.multinomial(units, np.full(units, 1 / units), min(step, draws - first)).astype(np.float64)
        weights = weights if drawn_of is None else weights[:, drawn_of]
        found.append(_change(metric, metric.pool(after, weights), metric.pool(before, weights)))
    drawn = np.concatenate(found)
    usable = drawn[np.isfinite(drawn)]
    if len(usable) < (1 - _UNDEFINED) * draws:
        return value, _unknown(change), p_value
    return value, _accelerated(change, usable, adds - adds.mean()), p_value


def _change(metric: Pooled, after: NDArray[np.float64], before: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    if not metric.relative:
        return after - before
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(before != 0, after / before - 1, np.where(after == before, 0.0, np.inf))


def _unknown(change: float) -> Interval:
    return Interval(change, -math.inf, math.inf)


def _accelerated(change: float, drawn: NDArray[np.float64], adds: NDArray[np.float64]) -> Interval:
    """Bias-corrected and accelerated percentiles of what was drawn.

    Args:
        change: What was seen.
        drawn: Changes of the draws.
        adds: What each example, or group, adds to the change, of mean 0.
    """
    import numpy as np
    from scipy.special import ndtr, ndtri

    below = float((drawn < change).mean() + 0.5 * (drawn == change).mean())
    bias = float(ndtri(min(max(below, 0.5 / len(drawn)), 1 - 0.5 / len(drawn))))
    acceleration = float((adds**3).sum() / (6 * (adds**2).sum() ** 1.5))
    # Student's quantile instead of the normal one: percentiles of few examples are too narrow.
    wide = float(_student(len(adds)) / ndtri((1 + CONFIDENCE) / 2))
    ends = []
    for z in (wide * ndtri((1 - CONFIDENCE) / 2), wide * ndtri((1 + CONFIDENCE) / 2)):
        moved = bias + z
        ends.append(float(np.quantile(drawn, ndtr(bias + moved / (1 - acceleration * moved)))))
    return Interval(change, min(ends[0], change), max(ends[1], change))


def _student(count: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(count - 1, (1 + CONFIDENCE) / 2) * math.sqrt(count / (count - 1)))

"""Quality of a candidate, paired with the original model example by example."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.core.errors import CandidateError
from deploykit.core.result import Interval, Score
from deploykit.measuring.grouped import numbered, of_sums, paired_binary_groups
from deploykit.measuring.pooling import paired_change
from deploykit.measuring.statistics import paired_binary, t_interval, t_interval_of, t_test, t_test_of
from deploykit.metrics._contract import METRICS, Metric, Parts, Pooled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def compare(
    metric: Metric,
    after: NDArray[Any],
    before: NDArray[Any],
    truth: NDArray[Any],
    groups: NDArray[Any] | None = None,
) -> Score:
    """A candidate's score against the baseline's on the same examples.

    Args:
        metric: The metric.
        after: The candidate's outputs in the form that metrics take.
        before: The baseline's.
        truth: Labels, or the original's outputs.
        groups: What each example is a part of, as in `Split`; None where examples stand for themselves.

    Raises:
        CandidateError: The metric is not finite.
    """
    if not isinstance(metric, Pooled):
        return score(metric, metric.values(after, truth), metric.values(before, truth), groups)
    return compare_parts(metric, metric.parts(after, truth), metric.parts(before, truth), groups)


def compare_parts(metric: Pooled, after: Parts, before: Parts, groups: NDArray[Any] | None = None) -> Score:
    """As `compare`, of what examples contribute to a pooled metric.

    Raises:
        CandidateError: The metric is not finite.
    """
    import math

    count = len(next(iter(after.values())))
    value, change, p_value = paired_change(metric, after, before, groups=groups)
    if not math.isfinite(value):
        raise CandidateError(
            f"{metric.label[:1].upper()}{metric.label[1:]} is {value} over the {count} examples.",
            remedy="use a milder setting, or keep the affected layers in float32: the outputs hold NaN or infinity.",
        )
    return Score(
        metric.name, value, change, _drop(metric, change), count, metric.higher_is_better, min(p_value, 1.0),
        _count_of(numbered(groups)),
    )  # fmt: skip


def score(
    metric: Metric, values: NDArray[np.float64], baseline: NDArray[np.float64], groups: NDArray[Any] | None = None
) -> Score:
    """As `compare`, of values that are known already.

    Args:
        metric: The metric.
        values: The candidate's value for each example.
        baseline: The baseline's value for each example.
        groups: As in `compare`.

    Raises:
        CandidateError: Values are not finite.
    """
    paired = Paired(metric, numbered(groups))
    paired.add(values, baseline)
    return paired.score()


class Paired:
    """Values of a candidate and the baseline on the same examples, which come in parts: only their sums are kept.

    Means and products of deviations are merged as in Chan, Golub and LeVeque, *Updating Formulae and a Pairwise
    Algorithm for Computing Sample Variances* (1979).

    Args:
        metric: The metric.
        own: Number of each example's group, in the order of the examples; None where examples stand for themselves.
    """

    def __init__(self, metric: Metric, own: NDArray[np.int64] | None = None) -> None:
        import numpy as np

        self._metric = metric
        self._own = own
        #: Of each group: the sum of differences, that of the baseline's values, and the number of examples.
        self._sums = np.zeros((3, _count_of(own)))
        self._count = self._bad = self._better = self._worse = 0
        self._value = 0.0
        #: Means of difference and baseline, and the sums of products of their deviations from these.
        self._means = np.zeros(2)
        self._products = np.zeros((2, 2))

    def add(self, values: NDArray[np.float64], baseline: NDArray[np.float64]) -> None:
        """Take values of further examples."""
        import numpy as np

        self._bad += int((~np.isfinite(values)).sum())
        self._count += len(values)
        if self._bad or not len(values):
            return
        difference = values - baseline
        if self._own is not None:
            own = self._own[self._count - len(values) : self._count]
            for row, part in zip(self._sums, (difference, baseline, np.ones(len(values))), strict=True):
                np.add.at(row, own, part)
        self._better += int((difference > 0).sum())
        self._worse += int((difference < 0).sum())
        share = len(values) / self._count
        self._value += (float(values.mean()) - self._value) * share
        means = np.array([difference.mean(), baseline.mean()])
        apart = np.stack([difference, baseline]) - means[:, None]
        moved = means - self._means
        self._products += apart @ apart.T + np.outer(moved, moved) * ((self._count - len(values)) * share)
        self._means += moved * share

    def score(self) -> Score:
        """The score over all examples.

        Raises:
            CandidateError: Values are not finite.
        """
        import math

        metric, count = self._metric, self._count
        if self._bad:
            raise CandidateError(
                f"{metric.label.capitalize()} is not finite for {self._bad} of {count} examples.",
                remedy="use a milder setting, or keep the affected layers in float32: the outputs hold NaN or "
                "infinity.",
            )
        free = max(1, count - 1)
        differences, levels, sizes = self._sums
        if self._own is not None and metric.binary:
            change, p_value = paired_binary_groups(differences, sizes, self._better, self._worse)
        elif self._own is not None:
            grouped = of_sums(differences, sizes)
            change, p_value = t_interval(grouped), t_test(grouped.tolist())
        elif metric.binary:
            change, p_value = paired_binary(self._better, self._worse, count)
        else:
            mean, deviation = float(self._means[0]), math.sqrt(float(self._products[0, 0]) / free)
            change, p_value = t_interval_of(mean, deviation, count), t_test_of(mean, deviation, count)
        level = float(self._means[1])
        if metric.relative and level:
            # Linearized ratio of means: its interval is that of values - ratio * baseline, in units of the baseline.
            # Values are the difference plus the baseline, so that nothing cancels where the ratio is near 1.
            ratio = self._value / level
            (own, mixed), (_, theirs) = self._products.tolist()
            square = max(0.0, own + 2 * (1 - ratio) * mixed + (1 - ratio) ** 2 * theirs)
            spread = t_interval_of(0.0, math.sqrt(square / free) / abs(level), count)
            if self._own is not None:
                left = t_interval(of_sums(differences + (1 - ratio) * levels, sizes) / abs(level))
                spread = Interval(0.0, left.low - left.value, left.high - left.value)
            change = Interval(ratio - 1, ratio - 1 + spread.low, ratio - 1 + spread.high)
        return Score(
            metric.name, self._value, change, _drop(metric, change), count, metric.higher_is_better, min(p_value, 1.0),
            len(sizes),
        )  # fmt: skip


def _count_of(own: NDArray[np.int64] | None) -> int:
    """How many groups there are, 0 where examples stand for themselves."""
    return 0 if own is None else int(own.max()) + 1


def _drop(metric: Metric, change: Interval) -> Interval:
    return Interval(-change.value, -change.high, -change.low) if metric.higher_is_better else change


def extra_metrics(
    chosen: Metric, outputs: NDArray[Any], labels: NDArray[Any] | None, kind: str = "", names: tuple[str, ...] = ()
) -> list[Metric]:
    """Further metrics that cost little once outputs are known; see ``beside`` of `Metric`."""
    found = []
    for metric in (m.for_classes(names) for m in METRICS.all() if m.beside):
        truth = labels if metric.truth == "labels" else outputs
        usable = truth is not None and not (kind and metric.refuses(kind)) and not metric.unsuitable(outputs, truth)
        if metric.name != chosen.name and usable:
            found.append(metric)
    return found

"""Quality of a candidate, paired with the original model example by example."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.core.errors import CandidateError
from deploykit.core.result import Interval, Score
from deploykit.measuring.pooling import paired_change
from deploykit.measuring.statistics import paired_binary, t_interval, t_test
from deploykit.metrics._contract import METRICS, Metric, Pooled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def compare(metric: Metric, after: NDArray[Any], before: NDArray[Any], truth: NDArray[Any]) -> Score:
    """A candidate's score against the baseline's on the same examples.

    Args:
        metric: The metric.
        after: The candidate's outputs in the form that metrics take.
        before: The baseline's.
        truth: Labels, or the original's outputs.

    Raises:
        CandidateError: The metric is not finite.
    """
    import math

    if not isinstance(metric, Pooled):
        return score(metric, metric.values(after, truth), metric.values(before, truth))
    value, change, p_value = paired_change(metric, metric.parts(after, truth), metric.parts(before, truth))
    if not math.isfinite(value):
        raise CandidateError(
            f"{metric.label[:1].upper()}{metric.label[1:]} is {value} over the {len(after)} examples.",
            remedy="use a milder setting, or keep the affected layers in float32: the outputs hold NaN or infinity.",
        )
    return Score(
        metric.name, value, change, _drop(metric, change), len(after), metric.higher_is_better, min(p_value, 1.0)
    )


def score(metric: Metric, values: NDArray[np.float64], baseline: NDArray[np.float64]) -> Score:
    """As `compare`, of values that are known already.

    Args:
        metric: The metric.
        values: The candidate's value for each example.
        baseline: The baseline's value for each example.

    Raises:
        CandidateError: Values are not finite.
    """
    import numpy as np

    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise CandidateError(
            f"{metric.label.capitalize()} is not finite for {bad} of {len(values)} examples.",
            remedy="use a milder setting, or keep the affected layers in float32: the outputs hold NaN or infinity.",
        )
    difference = values - baseline
    if metric.binary:
        change, p_value = paired_binary(int((difference > 0).sum()), int((difference < 0).sum()), len(values))
    else:
        change, p_value = t_interval(difference), t_test(difference.tolist())
    if metric.relative:
        # Linearized ratio of means: its interval is that of values - ratio * baseline, in units of the baseline.
        level = float(baseline.mean())
        ratio = float(values.mean()) / level if level else 1.0
        if level:
            spread = t_interval((values - ratio * baseline) / level)
            change = Interval(ratio - 1, ratio - 1 + spread.low, ratio - 1 + spread.high)
    return Score(
        metric.name, float(values.mean()), change, _drop(metric, change), len(values), metric.higher_is_better,
        min(p_value, 1.0),
    )  # fmt: skip


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

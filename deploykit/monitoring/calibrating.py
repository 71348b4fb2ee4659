"""How sure a model's answers are, made comparable with how often they are right."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from deploykit.core.serial import Plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TINY = 1e-7
#: Answers that all classes together count as in the correction of each.
_PRIOR = 30


@dataclass(frozen=True)
class Calibrated(Plain):
    """How answers were on labeled examples of the reference.

    Attributes:
        examples: Labeled examples; 0 without labels: then nothing of the rest is known.
        temperature: By which logarithms of probabilities are divided (Guo et al., ICML 2017).
        accuracy: Share of right answers.
        corrections: What is added to the confidence of an answer, by the group that its class belongs to: the share of
            right answers less the mean confidence there, nearer to that of all answers the fewer there are.
        threshold: Confidence above which there are as many answers as are right; 0 for answers at several positions.
        absolute_error: Mean absolute error of real numbers.
        squared_error: Mean squared error of real numbers.
        typical_errors: Median and 90th percentile of absolute errors.
    """

    examples: int = 0
    temperature: float = 1.0
    accuracy: float = 0.0
    corrections: tuple[float, ...] = ()
    threshold: float = 0.0
    absolute_error: float = 0.0
    squared_error: float = 0.0
    typical_errors: tuple[float, ...] = ()

    def confidence(self, chances: NDArray[Any], group_of: NDArray[Any]) -> NDArray[Any]:
        """Calibrated probability that the likeliest class is right, averaged over positions, shape (requests,).

        Args:
            chances: Shape (requests, positions, classes).
            group_of: Class → its group.
        """
        import numpy as np

        found = _confidence(chances, self.temperature)
        if self.corrections:
            found += self._added[group_of[chances.argmax(axis=2)]]
        sure: NDArray[Any] = found.mean(axis=1)
        if not np.isfinite(sure.sum()):
            sure = np.nan_to_num(sure, nan=0.0)
        sure = np.minimum(np.maximum(sure, 0), 1)
        return sure

    @cached_property
    def _added(self) -> NDArray[Any]:
        import numpy as np

        return np.array(self.corrections, np.float32)


def _confidence(chances: NDArray[Any], temperature: float) -> NDArray[Any]:
    """1 / Σ (p / p_max)^(1/T): of the likeliest class after its logarithms were divided by T."""
    import numpy as np

    scaled = np.log(np.maximum(chances, np.float32(_TINY))) * np.float32(1 / temperature)
    scaled -= scaled.max(axis=2, keepdims=True)
    found: NDArray[Any] = 1 / np.exp(scaled).sum(axis=2)
    return found


def calibrate(chances: NDArray[Any], labels: NDArray[Any], group_of: NDArray[Any]) -> Calibrated:
    """Temperature and accuracy from labeled examples.

    Args:
        chances: Probabilities, shape (examples, positions, classes).
        labels: Class numbers, shape (examples,) or (examples, positions); negative ones do not count.
        group_of: Class → its group.

    Example:
        >>> import numpy as np
        >>> from deploykit.monitoring.calibrating import calibrate
        >>> rng = np.random.default_rng(0)
        >>> truth = rng.dirichlet(np.ones(5), 4000)
        >>> labels = (rng.random((4000, 1)) > truth.cumsum(1)).sum(1)
        >>> too_sure = truth**2 / (truth**2).sum(1, keepdims=True)
        >>> round(calibrate(too_sure[:, None], labels, np.arange(5)).temperature, 1)
        2.0
    """
    import numpy as np

    flat = chances.reshape(-1, chances.shape[2]).astype(np.float64)
    whole = labels.ravel()
    good = np.isfinite(flat).all(axis=1) & (whole >= 0) & (whole < flat.shape[1])
    flat, given = flat[good], whole[good].astype(np.int64)
    if not len(given):
        return Calibrated()
    logs = np.log(np.maximum(flat, _TINY))
    logs -= logs.max(axis=1, keepdims=True)
    temperature = _coolest(logs, given)
    right = float((flat.argmax(axis=1) == given).mean())
    sure, answers = _confidence(flat[:, None].astype(np.float32), temperature)[:, 0], flat.argmax(axis=1)
    off, groups = (answers == given) - sure, int(group_of.max()) + 1
    counts, sums = np.bincount(group_of[answers], minlength=groups), np.zeros(groups)
    np.add.at(sums, group_of[answers], off)
    corrections = (sums + _PRIOR * off.mean()) / (counts + _PRIOR)
    known = Calibrated(len(given), temperature, right, tuple(round(float(c), 5) for c in corrections))
    if chances.shape[1] > 1:
        return known
    final = known.confidence(flat[:, None].astype(np.float32), group_of)
    return replace(known, threshold=float(np.quantile(final, 1 - right)))


def _coolest(logs: NDArray[Any], labels: NDArray[Any]) -> float:
    """The temperature with the greatest likelihood, by golden section over its logarithm."""
    import numpy as np

    rows = np.arange(len(labels))

    def cost(log_temperature: float) -> float:
        scaled = logs * np.exp(-log_temperature)
        return float((np.log(np.exp(scaled).sum(axis=1)) - scaled[rows, labels]).mean())

    low, high, ratio = -2.3, 2.3, (5**0.5 - 1) / 2
    for _ in range(30):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if cost(left) <= cost(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def calibrate_values(values: NDArray[Any], labels: NDArray[Any]) -> Calibrated:
    """Errors of real numbers against labels of the same size."""
    import numpy as np

    errors = np.abs(values.reshape(len(values), -1).astype(np.float64) - labels.reshape(len(labels), -1))
    errors = errors[np.isfinite(errors).all(axis=1)]
    if not len(errors):
        return Calibrated()
    single = errors.mean(axis=1)
    typical = tuple(float(q) for q in np.quantile(single, [0.5, 0.9]))
    return Calibrated(
        len(errors), absolute_error=float(errors.mean()), squared_error=float((errors**2).mean()),
        typical_errors=typical,
    )  # fmt: skip

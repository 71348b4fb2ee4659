"""How far confidences are from the share of answers that are right, before and after, paired example by example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.result import Interval
from deploykit.measuring.grouped import numbered
from deploykit.measuring.statistics import CONFIDENCE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Bins of equal width between 0 and 1, as in Guo et al., *On Calibration of Modern Neural Networks* (2017).
BINS = 15
#: Resamples of the examples, and how many numbers are drawn at most: with very many examples fewer resamples do.
_RESAMPLES = 400
_MOST_DRAWN = 40_000_000
_LEAST_RESAMPLES = 100


@dataclass(frozen=True)
class Gaps:
    """The answers of one model to all examples.

    Attributes:
        bins: Bin of each example by its confidence, shape (examples,).
        gaps: 1 or 0 for right or wrong, less the confidence, shape (examples,).
        confidence: Of the answer, shape (examples,).
        right: Whether the answer is right, shape (examples,).
    """

    bins: NDArray[np.int64]
    gaps: NDArray[np.float64]
    confidence: NDArray[np.float64]
    right: NDArray[np.bool_]

    @classmethod
    def of(cls, shares: NDArray[np.float64], answers: NDArray[np.int64], labels: NDArray[Any]) -> Gaps:
        """Gaps of all examples.

        Args:
            shares: Confidences of the classes, shape (examples, classes), without NaN.
            answers: Class of each example, shape (examples,).
            labels: The right ones, shape (examples,).
        """
        import numpy as np

        confidence = shares[np.arange(len(shares)), answers]
        right = answers == labels
        bins = np.clip((confidence * BINS).astype(np.int64), 0, BINS - 1)
        return cls(bins, right - confidence, confidence, right)

    def error(self) -> float:
        """Expected calibration error: mean over the examples of their bin's gap between confidence and accuracy.

        It overstates: a perfectly calibrated model gets gaps from chance. See `corrected`.
        """
        import numpy as np

        return float(np.abs(np.bincount(self.bins, self.gaps, BINS)).sum() / len(self.bins))

    def corrected(self, weights: NDArray[Any] | None = None) -> Any:
        """The error without what chance adds.

        The sign of a bin's gap is taken from one half of its examples and its size from the other; this is the mean
        over all halvings, in closed form for a normal sum of gaps. It is zero on average for a calibrated model, and
        negative about as often as positive.

        Args:
            weights: How often each example counts, shape (resamples, examples); None: once.

        Returns:
            The error; shape (resamples,) with weights.
        """
        import numpy as np
        from scipy.special import erf

        once = weights is None
        counts = np.ones((1, len(self.bins))) if weights is None else weights.astype(np.float64)
        place = np.zeros((len(self.bins), BINS))
        place[np.arange(len(self.bins)), self.bins] = 1.0
        number, total, squares = (counts @ (place * v[:, None]) for v in (np.ones_like(self.gaps), self.gaps,
                                                                            self.gaps**2))  # fmt: skip
        many = np.maximum(number, 1.0)
        spread = np.where(number > 1, (squares - total**2 / many) * number / np.maximum(number - 1, 1), squares)
        deviation = np.sqrt(np.maximum(spread, 1e-12))
        ratio = total / deviation
        sizes = deviation * (ratio * erf(ratio / np.sqrt(2)) - np.sqrt(2 / np.pi) * np.exp(-(ratio**2) / 2))
        found = np.where(number > 0, sizes, 0.0).sum(axis=1) / number.sum(axis=1)
        return float(found[0]) if once else found


def change(before: Gaps, after: Gaps, seed: int = 0, groups: NDArray[Any] | None = None) -> Interval:
    """Change of the corrected error, with a 95 % interval from a paired bootstrap: both models on the same resamples.

    The interval is normal, with the bootstrap's standard deviation: percentiles of the plain error cover a true change
    from nearly zero in as few as one run in ten, since chance hides it.

    Args:
        before: Answers of the original.
        after: Answers of the candidate to the same examples.
        seed: Of the resamples.
        groups: What each example is a part of: whole groups are drawn. None where examples stand for themselves.
    """
    import numpy as np
    from scipy.special import ndtri, stdtrit

    count, own = len(before.bins), numbered(groups)
    units = count if own is None else int(own.max()) + 1
    random = np.random.default_rng(seed)
    resamples = max(_LEAST_RESAMPLES, min(_RESAMPLES, _MOST_DRAWN // count))
    at_once = max(1, 2_000_000 // count)
    found = []
    for start in range(0, resamples, at_once):
        drawn = random.integers(0, units, (min(at_once, resamples - start), units))
        weights = np.stack([np.bincount(row, minlength=units) for row in drawn])
        weights = weights if own is None else weights[:, own]
        found.append(after.corrected(weights) - before.corrected(weights))
    value = after.corrected() - before.corrected()
    wide = ndtri((1 + CONFIDENCE) / 2) if own is None else stdtrit(max(1, units - 1), (1 + CONFIDENCE) / 2)
    half = float(wide * np.concatenate(found).std(ddof=1))
    return Interval(value, value - half, value + half)

"""Area under precision by recall."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploykit.metrics._contract import Parts
from deploykit.metrics._ranked import Ranked

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class AveragePrecision(Ranked):
    """Precision at each score, weighted by the recall it adds (no interpolation), as in scikit-learn."""

    name = "average_precision"
    label = "average precision"
    figure = "average precision"
    help = "Area under precision by recall: of class 1 of two; the mean over labels, or classes against the rest."
    reference = "sklearn.metrics.average_precision_score (macro)"

    def floor(self, parts: Parts, index: int) -> float:
        """The share of positive examples."""
        return float(parts["positive"][:, index].mean())

    def _area(self, positive: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
        import numpy as np

        hits = np.cumsum(positive, axis=1)
        precision = hits / np.maximum(hits + np.cumsum(other, axis=1), 1e-300)
        total = positive.sum(axis=1)
        found: NDArray[np.float64] = np.where(
            total > 0, (positive * precision).sum(axis=1) / np.maximum(total, 1e-300), np.nan
        )
        return found


ADAPTER = AveragePrecision()

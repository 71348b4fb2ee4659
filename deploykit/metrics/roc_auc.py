"""Area under the receiver operating characteristic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploykit.metrics._contract import Parts
from deploykit.metrics._ranked import Ranked

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class RocAuc(Ranked):
    """How likely a positive example scores higher than another one; equal scores count half."""

    name = "roc_auc"
    label = "ROC AUC"
    figure = "AUC"
    help = "Area under the ROC curve: of class 1 of two; the mean over labels, or classes against the rest."
    reference = "sklearn.metrics.roc_auc_score (macro; multi_class='ovr')"

    def floor(self, parts: Parts, index: int) -> float:
        """Half of the pairs."""
        del parts, index
        return 0.5

    def _area(self, positive: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
        import numpy as np

        above = np.cumsum(positive, axis=1) - positive / 2
        pairs = positive.sum(axis=1) * other.sum(axis=1)
        found: NDArray[np.float64] = np.where(
            pairs > 0, (above * other).sum(axis=1) / np.maximum(pairs, 1e-300), np.nan
        )
        return found


ADAPTER = RocAuc()

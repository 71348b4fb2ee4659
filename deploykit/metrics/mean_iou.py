"""Mean intersection over union of masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.metrics._masks import Overlap

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class MeanIou(Overlap):
    """Intersection over union of each class over all examples, averaged over the classes that occur."""

    name = "mean_iou"
    label = "mean IoU"
    figure = "IoU"
    help = "Intersection over union of each class's positions in all examples, averaged over the classes that occur."
    reference = "sklearn.metrics.jaccard_score (macro over all positions)"
    why = "each position of a mask has one class, and the background would dominate the share of right ones"

    def priority_for(self, truth: NDArray[Any] | None) -> int:
        """Before the share of right positions for masks; sequences are judged by that share."""
        return 4 if truth is not None and truth.ndim > 2 else 0

    def _ratio(
        self, hits: NDArray[np.float64], answers: NDArray[np.float64], labels: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        import numpy as np

        union = answers + labels - hits
        found: NDArray[np.float64] = np.where(union > 0, hits / np.maximum(union, 1e-300), np.nan)
        return found


ADAPTER = MeanIou()

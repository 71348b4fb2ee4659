"""Accuracy of class scores, for one or several guesses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.metrics._contract import Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class TopK(Metric):
    """Share of examples whose label is among the ``k`` highest scores.

    One output column is read as the probability of class 1 (threshold 0.5).
    """

    binary = True
    k: ClassVar[int]

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs integer labels and one score for each class."""
        if truth is None or truth.ndim != 1 or truth.dtype.kind != "i":
            return "needs integer class labels"
        columns = outputs.shape[1] if outputs.ndim == 2 else 0
        if columns == 1 and self.k == 1 and int(truth.max(initial=0)) <= 1:
            return ""
        if columns <= self.k:
            return f"needs more than {self.k} class scores, the model gives outputs of shape {outputs.shape[1:]}"
        return ""

    def values(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """1 for a hit, 0 for a miss; examples with NaN scores are misses."""
        import numpy as np

        if outputs.shape[1] == 1:
            hit = (outputs[:, 0] > 0.5) == truth
        elif self.k == 1:
            hit = outputs.argmax(axis=1) == truth
        else:
            hit = (np.argpartition(-outputs, self.k - 1, axis=1)[:, : self.k] == truth[:, None]).any(axis=1)
        found: NDArray[np.float64] = (hit & np.isfinite(outputs).all(axis=1)).astype(np.float64)
        return found

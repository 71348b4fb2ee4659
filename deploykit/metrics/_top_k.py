"""Accuracy of class scores, for one or several guesses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.core.contract import CLASSES
from deploykit.metrics._contract import Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class TopK(Metric):
    """Share of examples whose label is among the ``k`` highest scores; class numbers are right or wrong.

    −∞ is a score (the class is impossible); an example with NaN among its scores is a miss.
    """

    binary = True
    kinds = CLASSES
    k: ClassVar[int]

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs integer labels, one per example, and one score for each class."""
        if truth is None or truth.ndim != 1 or truth.dtype.kind != "i":
            return "needs integer class labels"
        if outputs.ndim == 1 and outputs.dtype.kind in "iu" and self.k == 1:
            return ""
        if outputs.dtype.kind in "iu":  # which of several class numbers is the answer, the highest does not say
            return f"needs one class number per example; the model returns outputs of shape {outputs.shape[1:]}"
        columns = outputs.shape[1] if outputs.ndim == 2 else 0
        if columns <= self.k:
            return f"needs more than {self.k} class scores; the model returns outputs of shape {outputs.shape[1:]}"
        return ""

    def values(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """1 for a hit, 0 for a miss."""
        import numpy as np

        if outputs.ndim == 1:
            same_class: NDArray[np.float64] = (outputs == truth).astype(np.float64)
            return same_class
        if self.k == 1:
            hit = outputs.argmax(axis=1) == truth
        else:
            hit = (np.argpartition(-outputs, self.k - 1, axis=1)[:, : self.k] == truth[:, None]).any(axis=1)
        found: NDArray[np.float64] = (hit & ~np.isnan(outputs).any(axis=1)).astype(np.float64)
        return found

"""Agreement with the original model, for data without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.core.contract import CLASSES
from deploykit.metrics._contract import Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Agreement(Metric):
    """Share of examples for which the highest score is the same as the original's."""

    name = "agreement"
    label = "agreement"
    why = "there are no labels, and answers can be compared with the original's"
    help = "Share of examples with the same answer as the original model; needs no labels."
    binary = True
    truth = "original"
    priority = 1
    kinds = CLASSES

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs class scores or class numbers, one answer per example."""
        if truth is not None and truth.shape != outputs.shape:
            return f"outputs have shape {outputs.shape[1:]}, the original's {truth.shape[1:]}"
        if outputs.ndim == 1 and outputs.dtype.kind in "iu":
            return ""
        if outputs.ndim != 2:
            return f"needs one score per class; the model returns outputs of shape {outputs.shape[1:]}"
        return "" if outputs.shape[1] > 1 else "needs at least two class scores"

    def values(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """1 where both give the same answer, else 0."""
        import numpy as np

        if outputs.ndim == 1:
            same_class: NDArray[np.float64] = (outputs == truth).astype(np.float64)
            return same_class
        same = outputs.argmax(axis=1) == truth.argmax(axis=1)
        found: NDArray[np.float64] = (same & ~np.isnan(outputs).any(axis=1)).astype(np.float64)
        return found


ADAPTER = Agreement()

"""Agreement with the original model, for data without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.metrics._contract import Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Agreement(Metric):
    """Share of examples for which the highest score is the same as the original's."""

    name = "agreement"
    label = "agreement"
    help = "Share of examples with the same answer as the original model: needs no labels."
    binary = True
    truth = "original"
    priority = 1

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs class scores."""
        if outputs.ndim != 2:
            return f"needs one score for each class, the model gives outputs of shape {outputs.shape[1:]}"
        if truth is not None and truth.shape != outputs.shape:
            return f"outputs have shape {outputs.shape[1:]}, the original's {truth.shape[1:]}"
        return "" if outputs.shape[1] > 1 else "needs at least two class scores"

    def values(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """1 where both give the same answer, else 0."""
        import numpy as np

        same = outputs.argmax(axis=1) == truth.argmax(axis=1)
        found: NDArray[np.float64] = (same & np.isfinite(outputs).all(axis=1)).astype(np.float64)
        return found


ADAPTER = Agreement()

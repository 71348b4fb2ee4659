"""A metric in one file: the cross entropy of each example's label."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploykit.metrics._contract import Metric


class LogLoss(Metric):
    """−ln of the probability that the model gives to the label."""

    name = "log_loss"
    label = "log loss"
    help = "Cross entropy of the labels; max_drop is relative to the original's."
    higher_is_better = False
    relative = True
    kinds = frozenset({"probabilities", "probability"})

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs a class number for each example, and a probability for each class."""
        if truth is None or truth.ndim != 1 or truth.dtype.kind != "i":
            return "needs integer class labels"
        return "" if outputs.ndim == 2 else f"needs one probability per class, got shape {outputs.shape[1:]}"

    def values(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """Between 0 and 28, which is −ln 1e-12; NaN stays NaN."""
        found: NDArray[np.float64] = -np.log(np.clip(outputs[np.arange(len(truth)), truth].astype(float), 1e-12, 1.0))
        return found


ADAPTER = LogLoss()

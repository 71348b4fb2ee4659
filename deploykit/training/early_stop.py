"""When training no longer helps, by examples that are not trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass
class EarlyStop:
    """Keeps the best weights, and says when to stop.

    Attributes:
        patience: Epochs without a smaller loss after which training stops.
        best: Smallest loss so far.
        weights: Weights of the model that had it; None before the first epoch.
    """

    patience: int
    best: float = math.inf
    weights: Any = None
    _waited: int = 0

    def stops(self, loss: float, weights: Any) -> bool:
        """Whether to stop after an epoch.

        Args:
            loss: Of the examples that are held out.
            weights: Weights of the model after the epoch.
        """
        if loss < self.best:
            self.best, self.weights, self._waited = loss, weights, 0
        else:
            self._waited += 1
        return self._waited >= self.patience

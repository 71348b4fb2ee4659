"""Mean squared error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.metrics._mean_error import MeanError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class MeanSquaredError(MeanError):
    """Mean squared difference between output and label."""

    name = "mean_squared_error"
    label = "mean squared error"
    help = "Mean squared difference between output and label; max_drop is relative to the original's error."
    priority = 0

    def _error(self, difference: NDArray[np.float64], wanted: NDArray[Any]) -> NDArray[np.float64]:
        del wanted
        return difference**2


ADAPTER = MeanSquaredError()

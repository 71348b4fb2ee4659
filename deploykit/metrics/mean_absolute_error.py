"""Mean absolute error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.metrics._mean_error import MeanError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class MeanAbsoluteError(MeanError):
    """Mean absolute difference between output and label."""

    name = "mean_absolute_error"
    label = "mean absolute error"
    why = "the labels are real numbers"
    help = "Mean absolute difference between output and label; max_drop is relative to the original's error."
    priority = 2

    def _error(self, difference: NDArray[np.float64], wanted: NDArray[Any]) -> NDArray[np.float64]:
        del wanted
        return abs(difference)


ADAPTER = MeanAbsoluteError()

"""Mean absolute percentage error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.metrics._mean_error import MeanError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class MeanAbsolutePercentageError(MeanError):
    """Mean absolute difference by the label's size, as a share: 0.05 is 5 %."""

    name = "mean_absolute_percentage_error"
    label = "mean absolute percentage error"
    help = "Mean absolute difference as a share of the label; max_drop is relative to the original's error."
    kinds = frozenset({"values"})
    reference = "sklearn.metrics.mean_absolute_percentage_error"

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs labels other than 0."""
        if reason := super().unsuitable(outputs, truth):
            return reason
        assert truth is not None
        zeros = int((truth == 0).sum())
        return f"is undefined: {zeros} of {truth.size} labels are 0" if zeros else ""

    def _error(self, difference: NDArray[np.float64], wanted: NDArray[Any]) -> NDArray[np.float64]:
        import numpy as np

        found: NDArray[np.float64] = abs(difference) / np.maximum(abs(wanted), np.finfo(np.float64).eps)
        return found


ADAPTER = MeanAbsolutePercentageError()

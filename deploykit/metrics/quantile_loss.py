"""Quantile (pinball) loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.metrics._mean_error import MeanError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class PinballError(MeanError):
    """Mean pinball loss: what lies below the output costs 1 − q, what lies above it q (Koenker and Bassett, 1978)."""

    name = "quantile_loss"
    label = "quantile loss"
    help = "Pinball loss of the median; quantile_loss:0.9 is that of another quantile."
    kinds = frozenset({"values"})
    setting = 0.5
    offered = ("0.1", "0.9")
    setting_help = "quantile that the model predicts"
    reference = "sklearn.metrics.mean_pinball_loss"

    def _error(self, difference: NDArray[np.float64], wanted: NDArray[Any]) -> NDArray[np.float64]:
        import numpy as np

        del wanted
        found: NDArray[np.float64] = np.maximum((1 - self.setting) * difference, -self.setting * difference)
        return found


ADAPTER = PinballError()

"""Root mean squared error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.metrics._contract import Summed
from deploykit.metrics._mean_error import numbers_unsuitable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class RootMeanSquaredError(Summed):
    """Root of the mean squared difference, in the labels' unit; the mean over outputs where there are several."""

    name = "root_mean_squared_error"
    label = "root mean squared error"
    help = "Root of the mean squared difference, in the labels' unit; max_drop is relative to the original's."
    higher_is_better = False
    relative = True
    kinds = frozenset({"values", "embedding"})
    reference = "sklearn.metrics.root_mean_squared_error (uniform average)"

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs numeric labels of the outputs' size."""
        return numbers_unsuitable(outputs, truth)

    def sums(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """Squared errors, and one."""
        import numpy as np

        errors = (outputs.reshape(len(outputs), -1).astype(np.float64) - truth.reshape(len(truth), -1)) ** 2
        return np.concatenate([errors, np.ones((len(errors), 1))], axis=1)

    def of_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean of each output's root."""
        import numpy as np

        with np.errstate(divide="ignore", invalid="ignore"):
            found: NDArray[np.float64] = np.sqrt(np.maximum(sums[..., :-1], 0) / sums[..., -1:]).mean(axis=-1)
        return found


ADAPTER = RootMeanSquaredError()

"""Errors of real-valued outputs."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from deploykit.metrics._contract import Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def numbers_unsuitable(outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
    """Why outputs cannot be compared with labels number by number; "" when they can."""
    import numpy as np

    if truth is None:
        return "needs labels"
    if outputs.dtype.kind not in "fiub" or truth.dtype.kind not in "fiub":
        return f"needs numbers; outputs are {outputs.dtype}, labels {truth.dtype}"
    if int(np.prod(outputs.shape[1:])) != int(np.prod(truth.shape[1:])):
        return f"labels have shape {truth.shape[1:]}, outputs {outputs.shape[1:]}"
    return ""


class MeanError(Metric):
    """Mean over an example's values of a function of the difference between output and label."""

    higher_is_better = False
    kinds = frozenset({"values", "embedding"})
    relative = True

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs numeric labels of the outputs' size."""
        return numbers_unsuitable(outputs, truth)

    def values(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """The example's mean error."""
        import numpy as np

        wanted = truth.reshape(len(truth), -1)
        difference = outputs.reshape(len(outputs), -1).astype(np.float64) - wanted
        found: NDArray[np.float64] = self._error(difference, wanted).mean(axis=1)
        return found

    @abstractmethod
    def _error(self, difference: NDArray[np.float64], wanted: NDArray[Any]) -> NDArray[np.float64]:
        """The error of each value.

        Args:
            difference: Outputs minus labels.
            wanted: The labels.
        """

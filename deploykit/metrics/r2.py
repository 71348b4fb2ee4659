"""Coefficient of determination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.metrics._contract import Summed
from deploykit.metrics._mean_error import numbers_unsuitable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class R2(Summed):
    """1 minus the squared errors by the labels' variance; the mean over outputs where there are several."""

    name = "r2"
    label = "R²"
    help = "Share of the labels' variance that the outputs explain (1 is all); the mean over several outputs."
    kinds = frozenset({"values"})
    reference = "sklearn.metrics.r2_score (uniform average)"
    beside = True

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs numeric labels that differ."""
        if reason := numbers_unsuitable(outputs, truth):
            return reason
        assert truth is not None
        columns = truth.reshape(len(truth), -1)
        same = int((columns == columns[:1]).all(axis=0).sum())
        if len(truth) and same:
            which = "the labels are" if columns.shape[1] == 1 else f"{same} of {columns.shape[1]} labels are"
            return f"is undefined: {which} the same for all {len(truth)} examples"
        return ""

    def sums(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """Squared errors, labels, their squares, and one: for each output."""
        import numpy as np

        wanted = truth.reshape(len(truth), -1).astype(np.float64)
        errors = (outputs.reshape(len(outputs), -1) - wanted) ** 2
        wanted = wanted - np.median(wanted, axis=0)  # any constant will do; near the mean no digits are lost
        return np.concatenate([errors, wanted, wanted**2, np.ones((len(truth), wanted.shape[1]))], axis=1)

    def of_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Over the outputs; NaN where a weighting leaves labels that are all the same."""
        import numpy as np

        errors, total, squares, count = np.split(sums, 4, axis=-1)
        spread = squares - total**2 / np.maximum(count, 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            each = np.where(spread > 1e-12 * np.maximum(squares, 1e-300), 1 - errors / spread, np.nan)
        found: NDArray[np.float64] = each.mean(axis=-1)
        return found


ADAPTER = R2()

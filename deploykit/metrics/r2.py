"""Coefficient of determination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.metrics._contract import Parts, Pooled
from deploykit.metrics._mean_error import numbers_unsuitable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class R2(Pooled):
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

    def parts(self, outputs: NDArray[Any], truth: NDArray[Any]) -> Parts:
        """Squared errors and labels of each output."""
        wanted = truth.reshape(len(truth), -1).astype("float64")
        return {"errors": (outputs.reshape(len(outputs), -1) - wanted) ** 2, "labels": wanted}

    def pool(self, parts: Parts, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The share for each row."""
        return self._of_sums(weights @ _sums(parts))

    def leave_out(self, parts: Parts) -> NDArray[np.float64]:
        """The share without each example, exactly."""
        sums = _sums(parts)
        return self._of_sums(sums.sum(axis=0) - sums)

    def _of_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Over the outputs; NaN where a weighting leaves labels that are all the same."""
        import numpy as np

        errors, total, squares, count = np.split(sums, 4, axis=-1)
        spread = squares - total**2 / np.maximum(count, 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            each = np.where(spread > 1e-12 * np.maximum(squares, 1e-300), 1 - errors / spread, np.nan)
        found: NDArray[np.float64] = each.mean(axis=-1)
        return found


def _sums(parts: Parts) -> NDArray[np.float64]:
    """Squared errors, labels, their squares, and one: for each output."""
    import numpy as np

    # Any constant may be taken off; near the mean no digits are lost.
    labels = parts["labels"] - parts["labels"].mean(axis=0)
    return np.concatenate([parts["errors"], labels, labels**2, np.ones(labels.shape)], axis=1)


ADAPTER = R2()

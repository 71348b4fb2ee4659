"""How far answered masks and those of the labels overlap, class by class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.core.contract import CLASSES
from deploykit.metrics._by_class import Counted
from deploykit.metrics._positions import answers_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Overlap(Counted):
    """The mean over the classes that occur in labels or answers; positions without a label (negative) are left out."""

    kinds = CLASSES
    beside = True

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs one class for each position, and scores or class numbers there."""
        if truth is None:
            return "needs labels"
        if truth.dtype.kind not in "iu" or truth.ndim < 2:
            return "needs one class for each position"
        found = outputs.shape if outputs.dtype.kind in "iu" else outputs.shape[:-1]
        if found != truth.shape:
            return f"labels have shape {truth.shape[1:]}, answers {found[1:]}"
        return "" if (truth >= 0).any() else "is undefined: no position has a label"

    def counts(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[Any]:
        """Positions of each class that are hit, answered and labeled."""
        import numpy as np

        count = len(outputs)
        found, wanted = answers_of(outputs).reshape(count, -1), truth.reshape(count, -1)
        highest = int(max(found.max(), wanted.max()))
        width = max(highest + 1, outputs.shape[-1] if outputs.dtype.kind not in "iu" else 0)
        there = wanted >= 0
        which = np.arange(count)[:, None] * width

        def of(classes: NDArray[Any], mask: NDArray[Any]) -> NDArray[Any]:
            return np.bincount((which + classes)[mask], minlength=count * width).reshape(count, width)

        return np.stack(
            [of(wanted, there & (found == wanted)), of(found, there & (found >= 0)), of(wanted, there)], axis=1
        )

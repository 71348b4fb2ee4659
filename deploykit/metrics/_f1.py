"""F1 of two classes, several classes, or several labels at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.core.contract import CLASSES
from deploykit.metrics import _labels
from deploykit.metrics._by_class import Counted
from deploykit.metrics._positions import answers_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ManyF1(Counted):
    """F1 over classes (the highest score is the answer) or labels (those above a threshold are)."""

    kinds = CLASSES | {"several"}
    setting = 0.5
    setting_help = "a label counts as answered above this probability; classes are answered by the highest score"

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs a class for each example, or 0 and 1 for each label."""
        if truth is not None and truth.ndim == 1 and truth.dtype.kind in "iu" and outputs.dtype.kind in "iu":
            return "" if outputs.ndim == 1 and truth.min(initial=0) >= 0 else "needs one class number for each example"
        return _labels.unsuitable(outputs, truth)

    def counts(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[Any]:
        """Hits, answers and labels of each example by class."""
        import numpy as np

        if truth.ndim == 2:
            answered, wanted = _labels.above(outputs, self.setting), truth > 0
        else:
            found = answers_of(outputs)
            width = outputs.shape[1] if outputs.ndim == 2 else int(max(found.max(), truth.max())) + 1
            every = np.arange(width)
            answered, wanted = found[:, None] == every, truth[:, None] == every
        return np.stack([answered & wanted, answered, wanted], axis=1)

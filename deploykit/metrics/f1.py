"""F1 of one class against another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.core.contract import CLASSES
from deploykit.metrics import _labels
from deploykit.metrics._by_class import Counted

if TYPE_CHECKING:
    from numpy.typing import NDArray


class F1(Counted):
    """Twice the hits by answers and labels of class 1; an example is answered 1 above a threshold."""

    name = "f1"
    label = "F1"
    help = "F1 of class 1 of two, answered above a probability of one half; f1:0.3 sets another threshold."
    kinds = CLASSES
    setting = 0.5
    setting_help = "probability of class 1 above which it is the answer"
    reference = "sklearn.metrics.f1_score (binary)"

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs two classes, and examples of class 1."""
        if truth is None or truth.ndim != 1 or truth.dtype.kind not in "iub":
            return "needs one class for each example"
        numbers = outputs.dtype.kind in "iu" and outputs.ndim == 1
        if not numbers and (outputs.ndim != 2 or outputs.shape[1] != 2):
            return f"is for two classes; the model returns {outputs.dtype} of shape {outputs.shape[1:]}"
        if truth.min(initial=0) < 0 or max(truth.max(initial=0), outputs.max(initial=0) if numbers else 0) > 1:
            return "is for the classes 0 and 1; macro_f1 is for more"
        return "" if truth.any() else "is undefined: no example has class 1"

    def counts(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[Any]:
        """Hits, answers and labels of class 1."""
        import numpy as np

        if outputs.ndim == 1:
            answered = outputs == 1
        elif self.setting == 0.5:
            answered = outputs[:, 1] > outputs[:, 0]
        else:
            answered = _labels.probabilities(outputs)[:, 1] > self.setting
        return np.stack([answered & (truth == 1), answered, truth == 1], axis=1)[:, :, None]


ADAPTER = F1()

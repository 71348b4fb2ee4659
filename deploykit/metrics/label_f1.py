"""F1 of several labels per example."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.metrics._contract import Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class LabelF1(Metric):
    """2·hits / (labels + answers) of each example; 1 when there are neither labels nor answers."""

    name = "label_f1"
    label = "label F1"
    why = "each example has several labels"
    help = "F1 of each example's labels, averaged over examples; a label counts as answered above 0.5."
    priority = 3
    kinds = frozenset({"several"})

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs 0 and 1 for each label, as many as the model gives."""
        if truth is None or truth.ndim != 2 or truth.dtype.kind not in "iub":
            return "needs 0 and 1 for each label"
        return "" if outputs.shape == truth.shape else f"labels are {truth.shape[1:]}, outputs {outputs.shape[1:]}"

    def values(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """F1 of each example; NaN answers nothing."""
        import numpy as np

        answered, wanted = outputs > 0.5, truth > 0
        hits = (answered & wanted).sum(axis=1)
        total = answered.sum(axis=1) + wanted.sum(axis=1)
        found: NDArray[np.float64] = np.where(total > 0, 2 * hits / np.maximum(total, 1), 1.0)
        return found


ADAPTER = LabelF1()

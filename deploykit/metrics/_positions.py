"""Classes at each position: masks, tags of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.core.contract import CLASSES
from deploykit.metrics._contract import Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Positions(Metric):
    """Share of an example's positions that have the right class, or the original's."""

    kinds = CLASSES

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs one class for each position, and scores or class numbers there."""
        if truth is None:
            return "needs labels"
        wanted = answers_of(truth[:1]) if self.truth == "original" else truth[:1]
        if wanted.dtype.kind not in "iu" or wanted.ndim < 2:
            return "needs one class for each position"
        found = answers_of(outputs[:1])
        return "" if found.shape == wanted.shape else f"labels have shape {wanted.shape[1:]}, answers {found.shape[1:]}"

    def values(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """The share of each example; positions with NaN are wrong, those without a truth (padding) left out."""
        import numpy as np

        wanted = answers_of(truth) if self.truth == "original" else truth
        same = (answers_of(outputs) == wanted).reshape(len(outputs), -1)
        there = (wanted >= 0).reshape(len(outputs), -1)
        right, all_ = (same & there).sum(axis=1), there.sum(axis=1)
        found: NDArray[np.float64] = np.where(all_ > 0, right / np.maximum(all_, 1), 1.0)
        return found

    def without(self, outputs: NDArray[Any], present: NDArray[np.bool_]) -> NDArray[Any]:
        """Outputs without an answer where there is padding."""
        import numpy as np

        none = np.array(np.nan if outputs.dtype.kind == "f" else -1)
        return np.where(present.reshape(present.shape + (1,) * (outputs.ndim - 2)), outputs, none)


def answers_of(outputs: NDArray[Any]) -> NDArray[Any]:
    """The class of each position or example, -1 where its scores hold NaN."""
    import numpy as np

    if outputs.dtype.kind in "iu":
        return outputs
    return np.where(np.isnan(outputs).any(axis=-1), -1, outputs.argmax(axis=-1)) if outputs.ndim > 1 else outputs

"""Areas under curves: how well scores rank positive examples above the others."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from deploykit.metrics import _labels
from deploykit.metrics._by_class import ByClass
from deploykit.metrics._contract import Parts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Ranked(ByClass):
    """The area for class 1 of two classes; the mean over classes (one against the rest) or labels of several.

    A class without positive or without other examples has no area: it is left out of the mean.
    """

    kinds = _labels.SCORED

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs scores, and at least one class with positive and other examples."""
        if reason := _labels.unsuitable(outputs, truth):
            return reason
        assert truth is not None
        _, positive = _labels.columns(outputs, truth)
        share = positive.mean(axis=0)
        if not ((share > 0) & (share < 1)).any():
            what = "is the same for all" if truth.ndim == 1 else "are the same for all, in every column,"
            return f"is undefined: the label{'s' * (truth.ndim > 1)} {what} {len(truth)} examples"
        return ""

    def parts(self, outputs: NDArray[Any], truth: NDArray[Any]) -> Parts:
        """The scores and labels themselves: what an example contributes depends on which others there are."""
        scores, positive = _labels.columns(outputs, truth)
        return {"scores": scores, "positive": positive}

    def by_class(self, parts: Parts, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The area of each class, in O(examples) per draw once the scores are sorted."""
        import numpy as np

        scores, positive = parts["scores"], parts["positive"]
        found = np.full((len(weights), scores.shape[1]), np.nan)
        for column in range(scores.shape[1]):
            if np.isnan(scores[:, column]).any():
                continue
            order = np.argsort(-scores[:, column], kind="stable")
            ordered = scores[order, column]
            starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])  # equal scores stand together
            mine = weights[:, order]
            hits = np.add.reduceat(mine * positive[order, column], starts, axis=1)
            found[:, column] = self._area(hits, np.add.reduceat(mine, starts, axis=1) - hits)
        return found

    def class_count(self, parts: Parts) -> int:
        """One of two classes, else all."""
        return int(parts["scores"].shape[1])

    def only(self, parts: Parts, index: int) -> Parts:
        """Its scores."""
        return {name: array[:, index : index + 1] for name, array in parts.items()}

    def members(self, parts: Parts, index: int) -> NDArray[np.bool_]:
        """Its positive examples."""
        found: NDArray[np.bool_] = parts["positive"][:, index]
        return found

    @abstractmethod
    def _area(self, positive: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
        """The area of each row.

        Args:
            positive: Weight of positive examples at each score, the highest first, shape (rows, scores).
            other: Weight of the other examples there.
        """

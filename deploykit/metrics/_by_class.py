"""Metrics that are the mean of one figure for each class, label or kind of entity."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deploykit.metrics._classwise import Classwise
from deploykit.metrics._contract import Parts, Summed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def mean_of_known(figures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the last axis of the figures that are defined; NaN where none is."""
    import numpy as np

    known = ~np.isnan(figures)
    count = known.sum(axis=-1)
    total = np.where(known, figures, 0.0).sum(axis=-1)
    found: NDArray[np.float64] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return found


class ByClass(Classwise):
    """A pooled metric that is the mean of one figure for each class."""

    @abstractmethod
    def by_class(self, parts: Parts, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The figure of each class for each row of ``weights``, shape (rows, classes); NaN where it is undefined."""

    def pool(self, parts: Parts, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean over the classes whose figure is defined."""
        return mean_of_known(self.by_class(parts, weights))


class Counted(Summed, Classwise):
    """A metric of what each example adds to three counts of each class: hits, answers and labels.

    ``sums`` of an example holds the hits of all classes, then the answers, then the labels.
    """

    #: Whether the counts of all classes are added up before the ratio (micro) instead of the mean of ratios (macro).
    micro = False
    figure = "F1"

    @abstractmethod
    def counts(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[Any]:
        """Hits, answers and labels of each example, shape (examples, 3, classes)."""

    def sums(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """The counts side by side, shape (examples, 3 × classes)."""
        import numpy as np

        return self.counts(outputs, truth).reshape(len(outputs), -1).astype(np.float64)

    def joined(self, parts: Sequence[Parts]) -> Parts:
        """As for any metric, but for the counts that stand side by side."""
        import numpy as np

        apart = [{"sums": np.reshape(p["sums"], (len(p["sums"]), 3, -1))} for p in parts]
        whole = super().joined(apart)["sums"]
        return {"sums": whole.reshape(len(whole), -1)}

    def class_count(self, parts: Parts) -> int:
        """As many as have counts."""
        return int(parts["sums"].shape[1] // 3)

    def only(self, parts: Parts, index: int) -> Parts:
        """Its three counts."""
        return {"sums": parts["sums"][:, index :: self.class_count(parts)]}

    def members(self, parts: Parts, index: int) -> NDArray[np.bool_]:
        """The examples with labels of the class."""
        found: NDArray[np.bool_] = self.only(parts, index)["sums"][:, 2] > 0
        return found

    def of_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean of the classes' ratios, or the ratio of all counts together."""
        if not self.micro:
            return mean_of_known(self._ratios(sums))
        hits, answers, labels = (part.sum(axis=-1) for part in _three(sums))
        return self._ratio(hits, answers, labels)

    def _ratios(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._ratio(*_three(sums))

    def _ratio(
        self, hits: NDArray[np.float64], answers: NDArray[np.float64], labels: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """F1 (Dice): twice the hits by answers and labels together; NaN where there are neither."""
        import numpy as np

        total = answers + labels
        found: NDArray[np.float64] = np.where(total > 0, 2 * hits / np.maximum(total, 1e-300), np.nan)
        return found


def _three(sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    third = sums.shape[-1] // 3
    return sums[..., :third], sums[..., third : 2 * third], sums[..., 2 * third :]

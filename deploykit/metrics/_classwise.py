"""Metrics that have a figure for each class, and what became of the classes."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import OutputMeaning
from deploykit.metrics._contract import METRICS, Metric, Parts, Pooled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: What shows single classes where the metric that was asked for does not: the first that suits the data.
_SHOWING = ("token_f1", "mean_iou", "macro_f1", "recall_at_k", "mean_average_precision")


class Classwise(Pooled):
    """A pooled metric that can be looked at class by class.

    Attributes:
        figure: What one class's figure is called.
    """

    figure = "share"

    @abstractmethod
    def class_count(self, parts: Parts) -> int:
        """How many classes there are figures of."""

    @abstractmethod
    def only(self, parts: Parts, index: int) -> Parts:
        """The parts of one class: `pool` gives its figure, NaN where it has none."""

    @abstractmethod
    def members(self, parts: Parts, index: int) -> NDArray[np.bool_]:
        """Which examples have the class in their labels, shape (examples,)."""

    def floor(self, parts: Parts, index: int) -> float:
        """The class's figure for outputs that know nothing of it."""
        del parts, index
        return 0.0

    def class_name(self, index: int, names: tuple[str, ...]) -> str:
        """What a class is called."""
        return names[index] if index < len(names) else str(index)


def classwise(
    metric: str, outputs: NDArray[Any], labels: NDArray[Any] | None, meaning: OutputMeaning, names: tuple[str, ...]
) -> Classwise | None:
    """What shows single classes: the metric itself where it can, else the usual one for such labels; None: nothing.

    Args:
        metric: Name of the metric the sweep was asked for.
        outputs: As metrics take them.
        labels: As the contract has recoded them.
        meaning: What the output is.
        names: Class names by index.
    """
    for name in (metric, *_SHOWING):
        found: Metric | None = METRICS.get(name).for_classes(names) if name in METRICS else None
        if isinstance(found, Classwise) and not found.refuses(meaning.kind) and not found.unsuitable(outputs, labels):
            return found
    return None

"""What a metric is: a value for each example, so that two models can be compared example by example."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.core.adapter import Adapter
from deploykit.core.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Metric(Adapter):
    """A metric.

    Attributes:
        higher_is_better: Direction.
        relative: Changes are given relative to the baseline's mean (errors) instead of as a difference (accuracies).
        binary: Values are hits and misses: changes get the exact tests of paired proportions.
        truth: What outputs are compared with: ``"labels"``, or the outputs of the original model (``"original"``).
        priority: ``"auto"`` takes the applicable metric with the highest one; 0: only by name.
        kinds: Kinds of outputs it is for, see `deploykit.core.contract.KINDS`; empty: any.
    """

    higher_is_better: ClassVar[bool] = True
    relative: ClassVar[bool] = False
    binary: ClassVar[bool] = False
    truth: ClassVar[str] = "labels"
    priority: ClassVar[int] = 0
    kinds: ClassVar[frozenset[str]] = frozenset()

    def refuses(self, kind: str) -> str:
        """Why the metric is not for a kind of output; "" when it is."""
        if not self.kinds or kind in self.kinds:
            return ""
        return f"is for {', '.join(sorted(self.kinds))}; the scored output is read as {kind}"

    @abstractmethod
    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Why the metric cannot be used for such outputs and labels (or original outputs); "" when it can."""

    @abstractmethod
    def values(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """One value for each example, shape (examples,).

        Args:
            outputs: The scored output for all examples, batch first, as `deploykit.measuring.answers.read` gives it:
                scores with the classes on the last axis, class numbers, or numbers as they are.
            truth: Labels, or the original's outputs.
        """


METRICS: Registry[Metric] = Registry("deploykit.metrics", "metric")

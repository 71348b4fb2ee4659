"""ROUGE: what a text has in common with its label."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from deploykit.metrics import _texts
from deploykit.metrics._contract import Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Rouge(Metric):
    """F1 of what both have in common, without stemming (Lin, 2004); only Latin letters and digits are looked at."""

    kinds = frozenset({"text"})
    beside = False

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs a text for each example, some of it in Latin letters."""
        if reason := _texts.unsuitable(outputs, truth):
            return reason
        assert truth is not None
        if not any(map(_texts.words_of_rouge, truth.tolist())):
            return "knows Latin letters and digits only, which no label has; character_error_rate knows all"
        return ""

    def values(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """F1 of each example, 0 where one of both texts is empty."""
        import numpy as np

        found = np.zeros(len(outputs))
        for row, both in enumerate(zip(outputs.tolist(), truth.tolist(), strict=True)):
            shared, answered, wanted = self._shared(*map(_texts.words_of_rouge, both))
            found[row] = 2 * shared / (answered + wanted) if shared else 0.0
        return found

    @abstractmethod
    def _shared(self, found: list[str], wanted: list[str]) -> tuple[int, int, int]:
        """What both have, what the answer has, what the label has."""


class RougeRuns(Rouge):
    """Runs of ``size`` words."""

    size = 1

    def _shared(self, found: list[str], wanted: list[str]) -> tuple[int, int, int]:
        one, other = (_texts.ngrams(side, self.size) for side in (found, wanted))
        return (one & other).total(), one.total(), other.total()

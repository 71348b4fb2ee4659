"""Error rates of what was recognized."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deploykit.metrics import _texts
from deploykit.metrics._contract import Summed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ErrorRate(Summed):
    """Substitutions, insertions and deletions by the length of the labels, over all examples; it can exceed 1."""

    higher_is_better = False
    relative = True
    kinds = frozenset({"text"})
    beside = True

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs a text for each example."""
        return _texts.unsuitable(outputs, truth)

    def sums(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """Errors, and tokens of the label."""
        import numpy as np

        found = np.empty((len(outputs), 2))
        for row, (answer, label) in enumerate(zip(outputs.tolist(), truth.tolist(), strict=True)):
            tokens = self._tokens(label)
            found[row] = _texts.edits(self._tokens(answer), tokens), len(tokens)
        return found

    def of_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Errors by tokens."""
        import numpy as np

        with np.errstate(divide="ignore", invalid="ignore"):
            rate: NDArray[np.float64] = sums[..., 0] / sums[..., 1]
        return rate

    @abstractmethod
    def _tokens(self, text: str) -> Sequence[str]:
        """What errors are counted in."""

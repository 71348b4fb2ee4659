"""Agreement with the original model's texts, token by token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.metrics._contract import Metric
from deploykit.metrics._positions import answers_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class TokenAgreement(Metric):
    """Share of an example's tokens that the original has at the same place, by the longer of both texts.

    Tokens are words of texts, or token numbers, of which negative ones (padding) are left out.
    """

    name = "token_agreement"
    label = "token agreement"
    help = "Share of the words, or token numbers, that the original model gives at the same place; needs no labels."
    truth = "original"
    kinds = frozenset({"text", "classes"})
    priority = 1
    why = "there are no labels, and texts can be compared with the original's"
    beside = False

    def priority_for(self, truth: NDArray[Any] | None) -> int:
        """For texts; numbers at each position have `position_agreement`."""
        return self.priority if truth is None or truth.dtype.kind in "UO" else 0

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs one text, or several token numbers, for each example."""
        if outputs.dtype.kind in "UO":
            return "" if outputs.ndim == 1 else "needs one text for each example"
        if outputs.dtype.kind not in "iu" or outputs.ndim != 2:
            return f"needs texts or token numbers; the model returns {outputs.dtype} of shape {outputs.shape[1:]}"
        if truth is not None and truth.shape[:1] != outputs.shape[:1]:
            return f"outputs have shape {outputs.shape}, the original's {truth.shape}"
        return ""

    def values(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """The share of each example; 1 where both are empty."""
        import numpy as np

        found = np.empty(len(outputs))
        for row, both in enumerate(zip(outputs, truth, strict=True)):
            one, other = map(_tokens, both)
            longest = max(len(one), len(other))
            same = sum(a == b for a, b in zip(one, other, strict=False))
            found[row] = same / longest if longest else 1.0
        return found


def _tokens(answer: Any) -> list[Any]:
    if isinstance(answer, str):
        return answer.split()
    return [t for t in answers_of(answer).tolist() if t >= 0]


ADAPTER = TokenAgreement()

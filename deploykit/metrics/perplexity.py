"""Perplexity of token probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.metrics._contract import Summed
from deploykit.metrics._labels import probabilities

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Perplexity(Summed):
    """e to the mean negative log-probability of the right token, over all tokens that have a label."""

    name = "perplexity"
    label = "perplexity"
    help = "How many tokens the model wavers between on average: e to the mean negative log-probability of the label."
    higher_is_better = False
    relative = True
    kinds = frozenset({"scores", "probabilities"})
    reference = "e to sklearn.metrics.log_loss over all tokens"

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs one class for each position, and scores there."""
        if truth is None:
            return "needs labels"
        if truth.dtype.kind not in "iu" or truth.ndim < 2 or outputs.dtype.kind != "f":
            return "needs one token for each position, and scores of all tokens there"
        if outputs.shape[:-1] != truth.shape:
            return f"labels have shape {truth.shape[1:]}, outputs {outputs.shape[1:]}"
        if truth.size and truth.max() >= outputs.shape[-1]:
            return f"labels go up to token {int(truth.max())}, the model has {outputs.shape[-1]}"
        return "" if (truth >= 0).any() else "is undefined: no position has a label"

    def sums(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """Negative log-probabilities, and tokens."""
        import numpy as np

        smallest = np.finfo(np.float64).tiny
        found = np.empty((len(outputs), 2))
        for row, (scores, tokens) in enumerate(zip(outputs, truth, strict=True)):  # one at a time: they are large
            there = tokens >= 0
            shares = probabilities(scores[there])
            right = np.take_along_axis(shares, tokens[there][:, None], axis=1)
            found[row] = -np.log(np.maximum(right, smallest)).sum(), there.sum()
        return found

    def of_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """The exponential of the mean."""
        import numpy as np

        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            found: NDArray[np.float64] = np.exp(sums[..., 0] / sums[..., 1])
        return found


ADAPTER = Perplexity()

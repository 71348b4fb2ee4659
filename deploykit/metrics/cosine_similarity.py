"""Cosine similarity with the original model's embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.metrics._contract import Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class CosineSimilarity(Metric):
    """Cosine of the angle between an example's embedding and the original's."""

    name = "cosine_similarity"
    label = "cosine similarity"
    why = "there are no labels, and embeddings can be compared with the original's"
    help = "Cosine between an embedding and the original's (1 is the same direction); needs no labels."
    truth = "original"
    priority = 2
    kinds = frozenset({"embedding"})

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs vectors of the original's shape."""
        if outputs.dtype.kind != "f" or outputs.ndim < 2:
            return f"needs vectors; the model returns {outputs.dtype} of shape {outputs.shape[1:]}"
        if truth is not None and truth.shape != outputs.shape:
            return f"outputs have shape {outputs.shape[1:]}, the original's {truth.shape[1:]}"
        return ""

    def values(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """The cosine of each example, −1 to 1; vectors of length 0 are only like each other."""
        import numpy as np

        a, b = (v.reshape(len(v), -1).astype(np.float64) for v in (outputs, truth))
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        same = (a == b).all(axis=1).astype(np.float64)
        found: NDArray[np.float64] = np.where(lengths > 0, (a * b).sum(axis=1) / np.maximum(lengths, 1e-300), same)
        return found


ADAPTER = CosineSimilarity()

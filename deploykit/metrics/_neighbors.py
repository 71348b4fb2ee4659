"""The nearest embeddings of each example among the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Similarities held at a time.
_HELD = 8_000_000
#: Cosines closer than this are equal: the order of sums in a matrix product differs by less.
SAME = 1e-9


def unsuitable(outputs: NDArray[Any]) -> str:
    """Why outputs are not embeddings among which neighbors can be looked for; "" when they are."""
    if outputs.dtype.kind != "f" or outputs.ndim < 2:
        return f"needs vectors; the model returns {outputs.dtype} of shape {outputs.shape[1:]}"
    if outputs[0].size < 2:
        return "needs vectors; the model returns one number for each example"
    return "" if len(outputs) > 2 else f"needs more than two examples, got {len(outputs)}"


def similarities(outputs: NDArray[Any]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Cosines between some examples (which) and all of them, −∞ to themselves, in blocks.

    Vectors of length 0 have cosine 0 with all others; vectors with NaN are near none.
    """
    import numpy as np

    vectors = outputs.reshape(len(outputs), -1).astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors / np.where(lengths > 0, lengths, 1.0)
    step = max(1, _HELD // len(vectors))
    for first in range(0, len(vectors), step):
        block = slice(first, min(first + step, len(vectors)))
        found = vectors[block] @ vectors.T
        found[np.isnan(found)] = -np.inf
        found[np.arange(block.stop - first), np.arange(first, block.stop)] = -np.inf
        yield block, found

"""Running the original model on a few examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Run at once; a whole batch of large images would need much memory.
BATCH = 32


def run(session: Any, batch: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Outputs for all examples, a few at a time."""
    import numpy as np

    count = len(next(iter(batch.values())))
    parts = [session.predict({n: v[i : i + BATCH] for n, v in batch.items()}) for i in range(0, count, BATCH)]
    return {
        name: np.concatenate([p[name] for p in parts]) if all(p[name].ndim for p in parts) else parts[0][name]
        for name in parts[0]
    }

"""Fidelity to the original model's outputs, for real-valued outputs without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.core.contract import KINDS
from deploykit.metrics._contract import Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class OutputFidelity(Metric):
    """1 - ‖output - original‖₁ / ‖original‖₁ of an example, not below 0."""

    name = "output_fidelity"
    label = "output fidelity"
    why = "there are no labels, and the outputs are numbers"
    help = "How close the outputs stay to the original's (1 is equal); needs no labels and works for any output."
    truth = "original"
    kinds = frozenset(KINDS) - {"boxes"}
    priority = 0

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs numeric outputs of the original's shape."""
        if outputs.dtype.kind not in "fiub":
            return f"needs numeric outputs; the model returns {outputs.dtype}"
        if truth is not None and truth.shape != outputs.shape:
            return f"outputs have shape {outputs.shape[1:]}, the original's {truth.shape[1:]}"
        return ""

    def values(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """Fidelity of each example, between 0 and 1."""
        import numpy as np

        original = truth.reshape(len(truth), -1).astype(np.float64)
        given = outputs.reshape(len(outputs), -1).astype(np.float64)
        alike = given == original  # infinities as well
        difference = np.abs(np.where(alike, 0.0, given) - np.where(alike, 0.0, original)).sum(axis=1)
        size = np.abs(np.where(np.isfinite(original), original, 0.0)).sum(axis=1)
        scale = np.maximum(size, np.finfo(np.float64).tiny)
        found: NDArray[np.float64] = np.nan_to_num(np.clip(1 - difference / scale, 0, 1))
        return found


ADAPTER = OutputFidelity()

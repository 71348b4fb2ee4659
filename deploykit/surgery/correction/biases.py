"""What correcting the biases of a model has in common, whatever the format.

Rounding weights, and clipping what a layer reads, shift the mean of what it gives. The shift of each channel is
measured beside the original, and taken from the bias, layer after layer, so that each one sees what those before it
really give.

Source: Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction",
https://arxiv.org/abs/1906.04721 (empirical bias correction).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass
class Corrected:
    """What was corrected.

    Attributes:
        shifts: Layer → the largest shift of a bias, as a share of the standard deviation of what the layer gives.
        stay: Layer → why its bias is as it was.
    """

    shifts: dict[str, float] = field(default_factory=dict)
    stay: dict[str, str] = field(default_factory=dict)

    def notes(self) -> dict[str, Any]:
        """The same as notes."""
        found: dict[str, Any] = {
            "corrected": {name: round(shift, 4) for name, shift in self.shifts.items()},
            "not_corrected": self.stay,
        }
        return found if any(self.shifts.values()) else found | {"unchanged": "the means are those of the original"}


def error(wanted: NDArray[Any], given: NDArray[Any], axis: int) -> NDArray[Any] | None:
    """E[wanted − given] of each channel, shape (channels,), float64; None where the two are not of one shape."""
    import numpy as np

    if wanted.shape != given.shape or not wanted.ndim:
        return None
    others = tuple(k for k in range(wanted.ndim) if k != axis % wanted.ndim)
    found: NDArray[Any] = (wanted.astype(np.float64) - given).mean(others)
    return found


def along(values: NDArray[Any], axis: int, rank: int) -> NDArray[Any]:
    """Values of channels in the shape in which they are broadcast over a tensor."""
    return values.reshape([-1 if k == axis % rank else 1 for k in range(rank)])


def share(shift: NDArray[Any], wanted: NDArray[Any]) -> float:
    """The largest shift as a share of the standard deviation of a tensor; 0 where nothing is shifted."""
    import numpy as np

    largest = float(np.abs(shift).max(initial=0.0))
    return largest / max(float(wanted.std()), 1e-12) if largest else 0.0

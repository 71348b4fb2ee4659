"""What was seen of raw inputs of the reference, in the units in which clients send them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.serial import Plain
from deploykit.monitoring.readings import Read

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Most channels whose means are kept.
_MOST_CHANNELS = 4


@dataclass(frozen=True)
class Facts(Plain):
    """Facts of one input.

    Attributes:
        name: The input.
        dtype: NumPy's name; ``"string"`` for text.
        shape: Of one example.
        low: Smallest number.
        high: Largest number.
        mean: Mean of all numbers.
        deviation: Their standard deviation.
        whole: Whether all are whole numbers.
        missing: Share of numbers that are missing.
        channels: Mean of each channel of images with two to four; empty for others.
        channel_axis: Axis of the channels after the batch's: 0 or -1.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    deviation: float = 0.0
    whole: bool = False
    missing: float = 0.0
    channels: tuple[float, ...] = ()
    channel_axis: int = -1


def facts_of(read: Read, array: NDArray[Any]) -> Facts:
    """Facts of an input, batch first; of text its type and shape alone.

    Example:
        >>> import numpy as np
        >>> from deploykit.monitoring.facts import facts_of
        >>> from deploykit.monitoring.readings import Read
        >>> facts_of(Read("x", "tensor", "uint8", (2, 2)), np.arange(8, dtype=np.uint8).reshape(2, 2, 2)).high
        7.0
    """
    import numpy as np

    if array.dtype.kind not in "biuf":
        return Facts(read.name, "string" if array.dtype.kind in "OSU" else str(array.dtype), array.shape[1:])
    values = array.astype(np.float64)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return Facts(read.name, str(array.dtype), array.shape[1:], missing=1.0)
    axis = channel_axis(array.shape[1:])
    axes = tuple(i for i in range(array.ndim) if i != (1 if axis == 0 else array.ndim - 1))
    with np.errstate(invalid="ignore"):
        channels = () if axis is None else tuple(round(float(m), 6) for m in np.nanmean(values, axis=axes))
    return Facts(
        read.name, str(array.dtype), array.shape[1:], float(finite.min()), float(finite.max()), float(finite.mean()),
        float(finite.std()), bool((finite == np.round(finite)).all()), 1 - finite.size / values.size, channels,
        0 if axis == 0 else -1,
    )  # fmt: skip


def channel_axis(shape: tuple[int, ...]) -> int | None:
    """Axis of an image's channels, after the batch's: 0, -1, or None when it has not two to four of them."""
    if len(shape) != 3:
        return None
    if 2 <= shape[-1] <= _MOST_CHANNELS < shape[0]:
        return -1
    return 0 if 2 <= shape[0] <= _MOST_CHANNELS < shape[-1] else None

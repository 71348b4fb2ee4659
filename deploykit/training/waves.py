"""Waveforms that are changed at random at each step: moved in time, louder or quieter, with noise.

A ratio of powers p and q is 10·log₁₀(p/q) decibels; the power of a waveform is the mean of its squared samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Largest move as a share of the length, and the largest change of loudness in decibels.
_MOVED, _LOUDER_DB = 0.1, 6.0
#: Fewer numbers in a row are columns of a table rather than samples.
_SHORTEST = 256
_CHANNELS = (1, 2)


def time_axis(shape: Sequence[int | None] | None) -> int | None:
    """Axis of the samples of a batch of waveforms; None when a shape is not that of waveforms.

    Args:
        shape: With the batch first: (batch, samples), or with one or two channels before or after the samples.
    """
    if shape is None or len(shape) not in (2, 3):
        return None
    axes = (1,) if len(shape) == 2 else tuple(a for a, other in ((1, 2), (2, 1)) if shape[other] in _CHANNELS)
    sizes = ((axis, shape[axis]) for axis in axes)
    return next((axis for axis, size in sizes if size is None or size >= _SHORTEST), None)


def not_waves(name: str, what: str) -> str:
    """Why waveforms cannot be changed, without a full stop.

    Args:
        name: The input that takes no waveforms.
        what: What it takes.
    """
    return (
        f"augment changes waveforms of {_SHORTEST} samples or more, and the input {name!r} takes {what}: leave out "
        "shift, gain and noise for this model"
    )


def moves(rng: np.random.Generator, count: int, length: int) -> NDArray[np.int64]:
    """Random numbers of samples by which waveforms are moved, at most a tenth of their length.

    Args:
        rng: Where chance comes from.
        count: Number of waveforms.
        length: Their length.
    """
    most = int(_MOVED * length)
    return rng.integers(-most, most, count, endpoint=True)


def shifted(waves: NDArray[Any], by: NDArray[np.int64], axis: int) -> NDArray[Any]:
    """Waveforms later (above 0) or earlier, with zeros where nothing is known.

    Args:
        waves: The waveforms, batch first.
        by: Samples by which each is moved.
        axis: Axis of the samples.
    """
    import numpy as np

    source = np.moveaxis(waves, axis, -1)
    found = np.zeros_like(source)
    length = source.shape[-1]
    for row, (wave, move) in enumerate(zip(source, by.tolist(), strict=True)):
        found[row, ..., max(move, 0) : length + min(move, 0)] = wave[..., max(-move, 0) : length - max(move, 0)]
    return np.moveaxis(found, -1, axis)


def gains(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Random factors between half and twice (6 dB), as many quieter ones as louder ones.

    Args:
        rng: Where chance comes from.
        count: Number of factors.
    """
    import numpy as np

    found: NDArray[np.float32] = np.float32(10) ** (rng.uniform(-_LOUDER_DB, _LOUDER_DB, count) / 20).astype(np.float32)
    return found


def scaled(waves: NDArray[Any], factors: NDArray[np.float32]) -> NDArray[Any]:
    """Waveforms times a factor each.

    Args:
        waves: The waveforms, batch first.
        factors: One for each.
    """
    found: NDArray[Any] = waves * factors.reshape(-1, *[1] * (waves.ndim - 1))
    return found


def noisy(waves: NDArray[Any], noise: NDArray[np.float32], snr_db: float) -> NDArray[Any]:
    """Waveforms with noise of a power that is a given number of decibels below their own; silence stays silent.

    Args:
        waves: The waveforms, batch first.
        noise: Noise of the same shape, of any power.
        snr_db: Decibels between the powers.
    """
    import numpy as np

    axes = tuple(range(1, waves.ndim))
    power = np.square(waves, dtype=np.float64).mean(axis=axes, keepdims=True)
    own = np.square(noise, dtype=np.float64).mean(axis=axes, keepdims=True)
    ratio = np.sqrt(power / np.maximum(own, np.finfo(np.float64).tiny) / 10 ** (snr_db / 10))
    found: NDArray[Any] = waves + (ratio * noise).astype(np.float32)
    return found

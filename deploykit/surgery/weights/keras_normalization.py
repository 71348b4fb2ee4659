"""Kernels of a Keras model as converters store them: multiplied by the batch normalization behind them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from deploykit.surgery.channels.keras_graph import Flat, Step
from deploykit.surgery.reconstruction import keras_linear

if TYPE_CHECKING:
    from numpy.typing import NDArray


def absorb(flat: Flat, layers: Collection[str]) -> dict[str, str]:
    """Multiply kernels by the batch normalization right behind them, which only shifts from then on.

    The model computes the same. Converters do this to every model, each output by a factor of its own: whatever is done
    to the values of a kernel before would not be there in the converted file.

    Args:
        flat: The model, changed in place.
        layers: Names of the layers whose kernels may change.

    Returns:
        Name of each of those that did → name of the normalization.
    """
    import numpy as np

    reads: dict[str, list[Step]] = {}
    for step in flat.steps:
        for name in step.input:
            reads.setdefault(name, []).append(step)
    calls, found = flat.calls(), dict[str, str]()
    for step in flat.steps:
        layer = keras_linear.linear(step) if step.name in layers and calls[step.name] == 1 else None
        behind = reads.get(step.output[0], [])
        if layer is None or len(behind) != 1 or step.output[0] in flat.outputs:
            continue
        norm, rank = behind[0].op, len(flat.shapes[step.output[0]])
        if behind[0].kind != "BatchNormalization" or calls[behind[0].name] > 1:
            continue
        if norm.axis % rank != layer.channels % rank or norm.moving_variance.dtype != "float32":
            continue
        factors = np.asarray(norm.gamma if norm.scale else 1.0, np.float64)
        factors = factors / np.sqrt(np.asarray(norm.moving_variance, np.float64) + norm.epsilon)
        each = factors if layer.is_product else factors.reshape(-1, *[1] * (layer.weights.ndim - 1))
        bias = keras_linear.bias_of(step)
        keras_linear.write(layer, layer.weights * each, (0.0 if bias is None else np.asarray(bias)) * factors)
        _only_shift(norm, factors)
        found[step.name] = behind[0].name
    return found


def _only_shift(norm: Any, factors: NDArray[Any]) -> None:
    """Let a normalization multiply by exactly 1 what has been multiplied by the factors before."""
    import numpy as np

    one, epsilon = np.float32(1), np.float32(norm.epsilon)
    variance = one - epsilon
    while variance + epsilon != one:  # by the last bit
        variance = np.nextafter(variance, one if variance + epsilon < one else np.float32(0))
    norm.moving_variance.assign(np.full(norm.moving_variance.shape, variance, np.float32))
    norm.moving_mean.assign(np.asarray(norm.moving_mean) * factors)
    if norm.scale:
        norm.gamma.assign(np.ones(norm.gamma.shape, np.float32))

"""Kernels of Keras layers: the weights that pruning works on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

#: Class of a layer, of Keras 3 or tf_keras → where its kernels are.
_KERNELS = {
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D", "Dense", "EinsumDense"), ("kernel",)),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), ("kernel",)),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), ("pointwise_kernel",)),
    **dict.fromkeys(("SimpleRNN", "LSTM", "GRU"), ("cell.kernel", "cell.recurrent_kernel")),
    "Embedding": ("embeddings",),
    "MultiHeadAttention": tuple(f"_{part}_dense.kernel" for part in ("query", "key", "value", "output")),
}


def has_kernels(layer: Any) -> bool:
    """Whether the layer is of a kind that has kernels."""
    return type(layer).__name__ in _KERNELS


def kernels(layer: Any) -> list[Any]:
    """The variables that hold a layer's kernels."""
    return [_attribute(layer, path) for path in _KERNELS.get(type(layer).__name__, ())]


def smallest(layers: Iterable[Any], share: float) -> list[Any]:
    """The smallest layers that together hold no more than a share of the weights in kernels.

    Args:
        layers: All layers; a shared one may come twice.
        share: Of the weights of all layers that have kernels.
    """
    sizes = {
        id(layer): (sum(math.prod(w.shape) for w in layer.weights if len(w.shape) > 1), layer)
        for layer in layers
        if has_kernels(layer)
    }
    left = share * sum(size for size, _ in sizes.values())
    found = []
    for size, layer in sorted(sizes.values(), key=lambda pair: pair[0]):
        left -= size
        if left < 0:
            break
        found.append(layer)
    return found


def _attribute(layer: Any, path: str) -> Any:
    for name in path.split("."):
        layer = getattr(layer, name)
    return layer

"""Writes Caffe networks without Caffe: the text is given, the weights are encoded as caffe.proto has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

CNN = """name: "cnn"
input: "image"
input_shape { dim: 1 dim: 1 dim: 8 dim: 8 }
layer { name: "conv" type: "Convolution" bottom: "image" top: "conv"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 } }
layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layer { name: "class" type: "InnerProduct" bottom: "pool" top: "class" inner_product_param { num_output: 3 } }
layer { name: "prob" type: "Softmax" bottom: "class" top: "prob" }
"""


def write_network(path: Path, text: str, weights: Mapping[str, Sequence[NDArray[Any]]]) -> None:
    """Write a ``.prototxt`` and the ``.caffemodel`` of the same name beside it.

    Args:
        path: The text's file.
        text: The network.
        weights: Blobs of each layer, by its name.
    """
    path.write_text(text, "utf-8")
    path.with_suffix(".caffemodel").write_bytes(encoded(weights))


def encoded(weights: Mapping[str, Sequence[NDArray[Any]]]) -> bytes:
    """A NetParameter with the blobs of layers."""
    layers = (
        field(1, name.encode()) + b"".join(field(7, _blob(values)) for values in blobs)
        for name, blobs in weights.items()
    )
    return field(1, b"net") + b"".join(field(100, layer) for layer in layers)


def cnn(path: Path) -> None:
    """A small CNN with random weights: images (batch, 1, 8, 8) → three probabilities."""
    import numpy as np

    rng = np.random.default_rng(0)

    def random(*shape: int) -> NDArray[Any]:
        return rng.normal(0.0, 0.6, shape).astype(np.float32)

    weights = {
        "conv": [random(8, 1, 3, 3), random(8)],
        "norm": [random(8), abs(random(8)) + 0.5, np.array([2.0], np.float32)],
        "scale": [random(8), random(8)],
        "class": [random(3, 8 * 4 * 4) / 4, random(3)],
    }
    write_network(path, CNN, weights)


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number: int) -> bytes:
    """A number of variable length."""
    found = b""
    while number > 0x7F:
        found, number = found + bytes([number & 0x7F | 0x80]), number >> 7
    return found + bytes([number])


def _blob(values: NDArray[Any]) -> bytes:
    shape = field(7, field(1, b"".join(map(varint, values.shape))))
    return field(5, values.astype("<f4").tobytes()) + shape

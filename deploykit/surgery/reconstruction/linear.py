"""Layers that are products with weights, as least squares sees them, whatever the format."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deploykit.surgery.reconstruction.least_squares import solve, solve_each

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Samples of inputs a feature, and the most bytes they may take.
_SAMPLES = 10
_BYTES = 40 << 20


@dataclass(frozen=True)
class Linear:
    """A convolution or matrix product.

    Attributes:
        node: The node or step; it reads ``input[0]`` and writes ``output[0]``.
        weights: Its weights: (outputs, inputs of a group, …kernel) of convolutions.
        groups: Groups of a convolution; 1 for products.
        channels: Axis of channels in its inputs and outputs: 1 or −1 for convolutions, the last one for products.
        is_product: Whether it is a matrix product.
        is_transposed: Whether a product's weights are (outputs, inputs).
        window: Strides, dilations and padding of a convolution, as ONNX calls them.
    """

    node: Any
    weights: NDArray[Any]
    groups: int
    channels: int
    is_product: bool = False
    is_transposed: bool = False
    window: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_depthwise(self) -> bool:
        """Whether every channel has filters of its own."""
        return self.groups > 1 and self.weights.shape[1] == 1

    def matrices(self) -> NDArray[Any]:
        """The weights as matrices, shape (groups, features, outputs a group); features are (input channel, place)."""
        if not self.is_product:
            return self.weights.reshape(self.groups, len(self.weights) // self.groups, -1).transpose(0, 2, 1)
        return (self.weights.T if self.is_transposed else self.weights)[None]

    def restored(self, matrices: NDArray[Any]) -> NDArray[Any]:
        """Matrices in the form of the weights, float32."""
        import numpy as np

        if not self.is_product:
            values = matrices.transpose(0, 2, 1).reshape(self.weights.shape)
        else:
            values = matrices[0].T if self.is_transposed else matrices[0]
        return np.ascontiguousarray(values, np.float32)

    def features(self) -> int:
        """Features of one group."""
        return int(self.matrices().shape[1])

    def places(self, output: tuple[int, ...], generator: Any) -> NDArray[Any]:
        """Random places in its output at which to compare.

        Args:
            output: Shape of the output, examples first.
            generator: A NumPy generator.

        Returns:
            Flat places over all axes but the channels', shape (samples,), sorted.
        """
        import numpy as np

        sizes = list(output)
        del sizes[self.channels]
        total = math.prod(sizes)
        features = self.features() * (self.groups if self.is_depthwise else 1)
        wanted = max(2000, _SAMPLES * self.features())
        count = min(total, wanted, max(256, _BYTES // (4 * max(features, 1))))
        found: NDArray[Any] = np.sort(generator.choice(total, count, replace=False))
        return found

    def answers(self, output: NDArray[Any], places: NDArray[Any]) -> NDArray[Any]:
        """The outputs at some places, shape (samples, output channels)."""
        import numpy as np

        found: NDArray[Any] = np.moveaxis(output, self.channels, -1).reshape(-1, output.shape[self.channels])[places]
        return found

    def inputs(self, source: NDArray[Any], output: tuple[int, ...], places: NDArray[Any]) -> NDArray[Any]:
        """What it reads for its outputs at some places, shape (samples, input channels, kernel places).

        Args:
            source: Its input, with channels where `channels` says.
            output: Shape of its output.
            places: As `places` gives them.
        """
        import numpy as np

        if self.is_product:
            rows: NDArray[Any] = source.reshape(-1, source.shape[-1])[places]
            return rows[:, :, None]
        if self.channels < 0:
            source, output = np.moveaxis(source, -1, 1), (output[0], output[-1], *output[1:-1])
        given = self.window
        kernel = self.weights.shape[2:]
        rank = len(kernel)
        strides, dilations = given.get("strides", [1] * rank), given.get("dilations", [1] * rank)
        starts = _padding(given, source.shape[2:], output[2:], kernel, strides, dilations)
        example, *spots = np.unravel_index(places, (output[0], *output[2:]))
        index: list[NDArray[Any]] = []
        inside = np.ones((len(places), *kernel), bool)
        for k in range(rank):
            shape = [1] * rank
            shape[k] = kernel[k]
            at = (spots[k] * strides[k] - starts[k]).reshape(-1, *[1] * rank)
            at = at + (np.arange(kernel[k]) * dilations[k]).reshape(1, *shape)
            inside &= (at >= 0) & (at < source.shape[2 + k])
            index.append(np.clip(at, 0, source.shape[2 + k] - 1))
        chosen: tuple[Any, ...] = (example.reshape(-1, *[1] * rank), slice(None), *index)
        found: NDArray[Any] = source[chosen]  # (samples, …kernel, channels)
        if not inside.all():
            found = np.where(inside[..., None], found, np.float32(0.0))
        return found.reshape(len(places), -1, source.shape[1]).transpose(0, 2, 1)


def solved(
    layer: Linear, source: NDArray[Any], target: NDArray[Any], generator: Any, *, bias: bool
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Matrices and bias of a layer; see `Linear.matrices`."""
    import numpy as np

    places = layer.places(target.shape, generator)
    inputs, wanted = layer.inputs(source, target.shape, places), layer.answers(target, places)
    old = layer.matrices()
    if layer.is_depthwise:
        each = old.shape[2]  # filters a channel
        x = np.repeat(inputs.transpose(1, 0, 2), each, axis=0)
        weights, shift = solve_each(x, wanted.T, old.transpose(0, 2, 1).reshape(len(x), -1))
        return weights.reshape(len(old), each, -1).transpose(0, 2, 1), shift
    width, outputs = inputs.shape[1] // len(old), old.shape[2]
    matrices, biases = np.empty(old.shape, np.float64), []
    for k, matrix in enumerate(old):
        x = inputs[:, k * width : (k + 1) * width].reshape(len(places), -1)
        matrices[k], found = solve(x, wanted[:, k * outputs : (k + 1) * outputs], matrix, bias=bias)
        biases.append(found)
    return matrices, np.concatenate(biases)


def _padding(
    given: Mapping[str, Any], source: tuple[int, ...], output: tuple[int, ...], kernel: tuple[int, ...],
    strides: list[int], dilations: list[int],
) -> list[int]:  # fmt: skip
    """Padding before the first place, by axis of space."""
    kind = given.get("auto_pad", b"NOTSET")
    if kind not in {b"SAME_UPPER", b"SAME_LOWER"}:
        return [0] * len(kernel) if kind == b"VALID" else list(given.get("pads", [0] * 2 * len(kernel)))
    totals = [
        max((size - 1) * step + (width - 1) * spread + 1 - whole, 0)
        for size, step, width, spread, whole in zip(output, strides, kernel, dilations, source, strict=True)
    ]
    return [total // 2 if kind == b"SAME_UPPER" else total - total // 2 for total in totals]

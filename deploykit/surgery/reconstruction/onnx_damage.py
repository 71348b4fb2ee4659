"""What the layers of an ONNX graph lose without some of what they read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.loading._onnx_parts import initializers
from deploykit.surgery.channels import labels
from deploykit.surgery.channels.labels import Ranking
from deploykit.surgery.channels.onnx_axes import Traced
from deploykit.surgery.reconstruction import damage
from deploykit.surgery.reconstruction.linear import Linear
from deploykit.surgery.reconstruction.onnx_linear import linear
from deploykit.surgery.reconstruction.onnx_walk import Walk
from deploykit.surgery.reconstruction.walk import Examples

if TYPE_CHECKING:
    from numpy.typing import NDArray


def orders(traced: Traced, examples: Examples) -> list[Ranking]:
    """Every group with its components in the order in which they are missed least.

    Groups that no product reads go by the l2 norm of their weights.

    Args:
        traced: The graph.
        examples: Calibration inputs.
    """
    norms = labels.magnitudes(traced.labels, traced.made, traced.constants, 2)
    return damage.orders(traced, _readers(traced), Walk(traced.model, examples), examples.seed, norms)


def means(traced: Traced, examples: Examples) -> dict[int, float]:
    """The mean of |activation| of each component where layers read it; see `damage.means`."""
    return damage.means(traced, _readers(traced), Walk(traced.model, examples))


def _readers(traced: Traced) -> dict[int, Linear]:
    found = {number: linear(node, traced.constants) for number, node in enumerate(traced.model.graph.node)}
    return {number: layer for number, layer in found.items() if layer is not None and not layer.is_depthwise}


def input_norms(model: Any, examples: Examples) -> dict[str, NDArray[Any]]:
    """‖x‖₂ of each input of every convolution and product over the examples, by the name of its node.

    Args:
        model: A ``ModelProto`` whose nodes have names.
        examples: Calibration inputs.

    Returns:
        Arrays of shape (groups, inputs of one output).

    Source: Wanda (Sun et al. 2023, https://arxiv.org/abs/2306.11695)
    """
    import numpy as np

    constants = initializers(model.graph)
    generator = np.random.default_rng(examples.seed)
    walk = Walk(model, examples)
    found: dict[str, NDArray[Any]] = {}
    for _number, node in walk.visit("measuring inputs"):
        if (layer := linear(node, constants)) is not None:
            output = walk.values[node.output[0]].shape
            inputs = layer.inputs(walk.values[node.input[0]], output, layer.places(output, generator))
            norms = np.sqrt(np.square(inputs, dtype=np.float64).sum(0))  # (channels, places of the kernel)
            found[node.name] = norms.reshape(layer.groups, -1)
    return found

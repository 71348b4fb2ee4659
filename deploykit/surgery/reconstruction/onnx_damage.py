"""What the layers of an ONNX graph lose without some of what they read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deploykit.converters._tensorflow_graph.write import Graph
from deploykit.core.extras import require
from deploykit.loading._onnx.parts import initializers
from deploykit.surgery.channels import labels
from deploykit.surgery.channels.labels import Ranking
from deploykit.surgery.channels.onnx_axes import Traced
from deploykit.surgery.reconstruction import damage, taylor
from deploykit.surgery.reconstruction.linear import Linear
from deploykit.surgery.reconstruction.onnx_linear import layers, linear
from deploykit.surgery.reconstruction.onnx_walk import Walk
from deploykit.surgery.reconstruction.taylor import Compared
from deploykit.surgery.reconstruction.walk import Examples

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What is appended to the name of a tensor for its gate, and for what comes through it.
_GATE, _GATED = "/gate", "/gated"


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
    """The mean of |activation| of each component where layers read it; see `damage.means`.

    Groups that no product reads have the l2 norm of their weights instead.
    """
    norms = labels.magnitudes(traced.labels, traced.made, traced.constants, 2)
    return damage.means(traced, _readers(traced), Walk(traced.model, examples), norms)


def gradients(traced: Traced, examples: Examples, goal: Compared) -> dict[int, float]:
    """What a loss changes by without each component, to first order; see `deploykit.surgery.reconstruction.taylor`.

    The gradients are those of a TensorFlow function of the same graph. Groups that no product reads have the l2 norm of
    their weights instead.

    Args:
        traced: The graph.
        examples: Calibration inputs.
        goal: The loss.

    Raises:
        UnsupportedModelError: There is no rule for an operator; names it.
    """
    places = taylor.gates(traced, _readers(traced))
    graph = Graph(gated(traced, places, examples.batch or 1))
    named = {f"{name}{_GATE}": name for name in places}

    def answer(feeds: Mapping[str, Any], gates: Mapping[str, Any]) -> list[Any]:
        return graph([gates[named[name]] if name in named else feeds[name] for name in graph.inputs])

    norms = labels.magnitudes(traced.labels, traced.made, traced.constants, 2)
    return taylor.scores(traced, places, examples, answer, goal, norms)


def gated(traced: Traced, places: Mapping[str, int], batch: int) -> Any:
    """The graph with gates as further inputs, called like their tensors with ``/gate`` behind; a ``ModelProto``."""
    onnx, helper = require("onnx", ""), require("onnx.helper", "")
    made = onnx.ModelProto()
    made.CopyFrom(traced.model)
    nodes = []
    for node in made.graph.node:
        for place, name in enumerate(node.input):
            if name in places:
                node.input[place] = f"{name}{_GATED}"
        nodes.append(node)
        for name in (n for n in node.output if n in places):
            size = taylor.shape(traced.axes[name], places[name], batch)
            gate = helper.make_tensor_value_info(f"{name}{_GATE}", onnx.TensorProto.FLOAT, size)
            made.graph.input.append(gate)
            nodes.append(helper.make_node("Mul", [name, gate.name], [f"{name}{_GATED}"], f"{name}{_GATED}"))
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made


def _readers(traced: Traced) -> dict[int, Linear]:
    return {number: layer for number, layer in layers(traced).items() if not layer.is_depthwise}


def input_norms(model: Any, examples: Examples) -> dict[str, NDArray[Any]]:
    """‖x‖₂ of each input of every convolution and product over the examples, by the name of its node.

    Nodes that share their weights have the same norms, for which all of them count. See `damage.input_norms`.

    Args:
        model: A ``ModelProto`` whose nodes have names.
        examples: Calibration inputs.

    Returns:
        Arrays of shape (groups, inputs of one output).
    """
    import numpy as np

    constants = initializers(model.graph)
    layers = {n: layer for n, node in enumerate(model.graph.node) if (layer := linear(node, constants)) is not None}
    found: dict[str, NDArray[Any]] = {}
    for number, norms in damage.input_norms(layers, Walk(model, examples), examples.seed).items():
        weights = layers[number].node.input[1]
        found[weights] = np.hypot(found.get(weights, 0.0), norms)
    return {layer.node.name: found[layer.node.input[1]] for layer in layers.values()}

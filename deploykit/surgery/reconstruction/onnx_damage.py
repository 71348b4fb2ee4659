"""In which order the channels of an ONNX graph are missed least, by what the layers behind them lose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.surgery.channels.labels import Group, Ranking
from deploykit.surgery.channels.onnx_axes import Traced
from deploykit.surgery.reconstruction.least_squares import Reader, removal_order
from deploykit.surgery.reconstruction.onnx_linear import Linear
from deploykit.surgery.reconstruction.onnx_walk import Examples, Walk

if TYPE_CHECKING:
    from numpy.typing import NDArray


def orders(traced: Traced, examples: Examples) -> list[Ranking]:
    """Every group with its components in the order in which they are missed least.

    Args:
        traced: The graph.
        examples: Calibration inputs.
    """
    import numpy as np

    generator = np.random.default_rng(examples.seed)
    owner = {component: group for group in traced.groups() for component in group.components}
    nodes = list(traced.model.graph.node)
    layers = {number: layer for number, node in enumerate(nodes) if (layer := _reader(traced, node)) is not None}
    left: dict[Group, int] = dict.fromkeys(owner.values(), 0)
    reads: dict[int, list[Group]] = {}
    for number, layer in layers.items():
        labels = traced.axes[layer.node.input[0]][layer.channels]
        found = () if labels is None else (owner.get(int(c)) for c in traced.labels.roots(labels))
        reads[number] = list(dict.fromkeys(group for group in found if group is not None))
        for group in reads[number]:
            left[group] += 1
    walk, held = Walk(traced.model, examples), dict[Group, list[Reader]]()
    done = {group: [(c, 0.0) for c in group.components[1:]] for group, count in left.items() if not count}
    for number in range(len(nodes)):
        if (wanted := walk.wanted) > walk.count:
            walk.take_in(wanted)
        walk.step()
        for group in reads.get(number, ()):
            held.setdefault(group, []).extend(_readers(traced, layers[number], group, walk, generator))
            left[group] -= 1
            if not left[group]:
                done[group] = removal_order(group.components, held.pop(group))
        walk.forget()
        examples.report(number + 1, len(nodes), "ranking channels")
    return [Ranking(group, tuple(done[group])) for group in left]


def _reader(traced: Traced, node: Any) -> Linear | None:
    layer = Linear.of(node, traced.constants)
    return None if layer is None or layer.is_depthwise else layer


def _readers(traced: Traced, layer: Linear, group: Group, walk: Walk, generator: Any) -> list[Reader]:
    """One reader for each group of a convolution."""
    source, output = walk.values[layer.node.input[0]], walk.values[layer.node.output[0]].shape
    places = layer.places(output, generator)
    inputs, matrices = layer.inputs(source, output, places), layer.matrices()
    labels = traced.axes[layer.node.input[0]][layer.channels]
    if labels is None:
        return []
    components, width = traced.labels.roots(labels), inputs.shape[1] // len(matrices)
    return [
        Reader(
            components[k * width : (k + 1) * width],
            group.components,
            inputs[:, k * width : (k + 1) * width].reshape(len(places), -1),
            matrix,
        )
        for k, matrix in enumerate(matrices)
    ]


def means(traced: Traced, examples: Examples) -> dict[int, float]:
    """The mean of |activation| of each component where layers read it, behind what comes between.

    Source: activation pruning; of several layers that read a component each one counts.
    """
    import numpy as np

    walk, found = Walk(traced.model, examples), dict[int, float]()
    nodes = list(traced.model.graph.node)
    for number, node in enumerate(nodes):
        if (wanted := walk.wanted) > walk.count:
            walk.take_in(wanted)
        walk.step()
        layer = _reader(traced, node)
        labels = None if layer is None else traced.axes[node.input[0]][layer.channels]
        if layer is not None and labels is not None and node.input[0] in walk.values:
            values = np.abs(np.moveaxis(walk.values[node.input[0]], layer.channels, -1))
            sizes = values.reshape(-1, values.shape[-1]).mean(0, dtype=np.float64)
            for component, size in zip(traced.labels.roots(labels), sizes, strict=True):
                found[int(component)] = found.get(int(component), 0.0) + float(size)
        walk.forget()
        examples.report(number + 1, len(nodes), "ranking channels")
    return found


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

    numpy_helper = require("onnx.numpy_helper", "")
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    generator = np.random.default_rng(examples.seed)
    walk = Walk(model, examples)
    found: dict[str, NDArray[Any]] = {}
    nodes = list(model.graph.node)
    for number, node in enumerate(nodes):
        if (wanted := walk.wanted) > walk.count:
            walk.take_in(wanted)
        walk.step()
        if (layer := Linear.of(node, constants)) is not None:
            output = walk.values[node.output[0]].shape
            inputs = layer.inputs(walk.values[node.input[0]], output, layer.places(output, generator))
            norms = np.sqrt(np.square(inputs, dtype=np.float64).sum(0))  # (channels, places of the kernel)
            found[node.name] = norms.reshape(layer.groups, -1)
        walk.forget()
        examples.report(number + 1, len(nodes), "measuring inputs")
    return found

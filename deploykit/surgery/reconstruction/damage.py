"""In which order the channels of a graph are missed least, by what the layers behind them lose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from deploykit.surgery.channels.labels import Group, Labels, Ranking, ranked
from deploykit.surgery.reconstruction.least_squares import Reader, removal_order
from deploykit.surgery.reconstruction.linear import Linear
from deploykit.surgery.reconstruction.walk import Steps

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Labeled(Protocol):
    """A graph whose axes have labels, of whichever format.

    Attributes:
        labels: What joins them.
        axes: For every tensor, the labels of each axis; None for an axis of unknown length.
    """

    labels: Labels
    axes: dict[str, list[NDArray[Any] | None]]

    def groups(self) -> list[Group]:
        """The groups of channels that compete."""


def orders(
    traced: Labeled, layers: Mapping[int, Linear], walk: Steps, seed: int, others: Mapping[int, float]
) -> list[Ranking]:
    """Every group with its components in the order in which they are missed least.

    Args:
        traced: The graph.
        layers: Its nodes that are products with weights, by their place, but for depthwise ones.
        walk: The graph at its beginning.
        seed: Seed of the places at which outputs are compared.
        others: Scores of components, for groups that none of these layers reads.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    owner = {component: group for group in traced.groups() for component in group.components}
    left: dict[Group, int] = dict.fromkeys(owner.values(), 0)
    reads: dict[int, list[Group]] = {}
    for number, layer in layers.items():
        labels = traced.axes[layer.node.input[0]][layer.channels]
        found = () if labels is None else (owner.get(int(c)) for c in traced.labels.roots(labels))
        reads[number] = list(dict.fromkeys(group for group in found if group is not None))
        for group in reads[number]:
            left[group] += 1
    held: dict[Group, list[Reader]] = {}
    done = {r.group: list(r.order) for r in ranked([group for group, count in left.items() if not count], others)}
    for number, _node in walk.visit("ranking channels"):
        for group in reads.get(number, ()):
            held.setdefault(group, []).extend(_readers(traced, layers[number], group, walk, generator))
            left[group] -= 1
            if not left[group]:
                done[group] = removal_order(group.components, held.pop(group))
    return [Ranking(group, tuple(done[group])) for group in left]


def _readers(traced: Labeled, layer: Linear, group: Group, walk: Steps, generator: Any) -> list[Reader]:
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


def means(traced: Labeled, layers: Mapping[int, Linear], walk: Steps, others: Mapping[int, float]) -> dict[int, float]:
    """The mean of |activation| of each component where layers read it, behind what comes between.

    Source: activation pruning; of several layers that read a component each one counts.

    Args:
        traced: The graph.
        layers: Its nodes that are products with weights, by their place.
        walk: The graph at its beginning.
        others: Scores of components, for groups that none of these layers reads.
    """
    import numpy as np

    found: dict[int, float] = {}
    for number, node in walk.visit("ranking channels"):
        layer = layers.get(number)
        labels = None if layer is None else traced.axes[node.input[0]][layer.channels]
        if layer is not None and labels is not None and node.input[0] in walk.values:
            values = np.abs(np.moveaxis(walk.values[node.input[0]], layer.channels, -1))
            sizes = values.reshape(-1, values.shape[-1]).mean(0, dtype=np.float64)
            for component, size in zip(traced.labels.roots(labels), sizes, strict=True):
                found[int(component)] = found.get(int(component), 0.0) + float(size)
    return with_others(traced, found, others)


def with_others(traced: Labeled, found: Mapping[int, float], others: Mapping[int, float]) -> dict[int, float]:
    """Scores, with others for groups of which nothing was found."""
    unread = [group for group in traced.groups() if not any(found.get(c) for c in group.components)]
    return dict(found) | {c: others[c] for group in unread for c in group.components}


def input_norms(layers: Mapping[int, Linear], walk: Steps, seed: int) -> dict[int, NDArray[Any]]:
    """‖x‖₂ of each input of layers over the examples, by their place.

    Args:
        layers: Nodes that are products with weights, by their place.
        walk: The graph at its beginning.
        seed: Seed of the places at which inputs are looked at.

    Returns:
        Arrays of shape (groups, inputs of one output).

    Source: Wanda (Sun et al. 2023, https://arxiv.org/abs/2306.11695)
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    found: dict[int, NDArray[Any]] = {}
    for number, node in walk.visit("measuring inputs"):
        if (layer := layers.get(number)) is not None:
            output = walk.values[node.output[0]].shape
            inputs = layer.inputs(walk.values[node.input[0]], output, layer.places(output, generator))
            norms = np.sqrt(np.square(inputs, dtype=np.float64).sum(0))  # (channels, places of the kernel)
            found[number] = norms.reshape(layer.groups, -1)
    return found

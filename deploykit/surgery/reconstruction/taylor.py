"""Which channels change a loss least when they go, to first order.

A number of one, a *gate*, is multiplied into each channel of the tensors that layers read. The derivative of the loss
by a gate is activation × gradient summed over the channel's positions: minus what the loss changes by when the channel
goes, to first order. Its size counts, as a mean over examples.

Source: Molchanov et al. 2017, https://arxiv.org/abs/1611.06440
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from deploykit.core.extras import require
from deploykit.data.batch import Batch
from deploykit.surgery.reconstruction.damage import Labeled, with_others
from deploykit.surgery.reconstruction.linear import Linear
from deploykit.surgery.reconstruction.walk import Examples

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: At most so many examples are used: each one takes a pass forward and back.
_MOST = 256
#: Gives the outputs for inputs by name, with gates by the name of the tensor that they are multiplied into.
Answer = Callable[[Mapping[str, Any], Mapping[str, Any]], Sequence[Any]]


class Compared(Protocol):
    """What outputs are compared with."""

    def targets(self, batch: Batch) -> Any:
        """What some of the examples are to give; their places are those among all."""

    def loss(self, targets: Any, outputs: Any) -> Any:
        """The mean loss of a batch."""


def gates(traced: Labeled, layers: Mapping[int, Linear]) -> dict[str, int]:
    """The tensors with channels that may go and that layers read, each with its axis of channels.

    Args:
        traced: The graph.
        layers: Its nodes that are products with weights.
    """
    found: dict[str, int] = {}
    for layer in layers.values():
        name = layer.node.input[0]
        axes = traced.axes[name]
        if traced.labels.is_live(axes[layer.channels]):
            found[name] = layer.channels % len(axes)
    return found


def shape(axes: Sequence[NDArray[Any] | None], place: int, batch: int) -> list[int]:
    """Shape of the gate of a tensor.

    Args:
        axes: Labels of the tensor's axes.
        place: Its axis of channels.
        batch: Examples a batch: where there are several, each has gates of its own.
    """
    apart = batch > 1 and place and (axes[0] is None or len(axes[0]) == batch)
    sizes = [batch if apart and not k else 1 for k in range(len(axes))]
    channels = axes[place]
    assert channels is not None
    return [*sizes[:place], len(channels), *sizes[place + 1 :]]


def scores(
    traced: Labeled, places: Mapping[str, int], examples: Examples, answer: Answer, goal: Compared,
    others: Mapping[int, float],
) -> dict[int, float]:  # fmt: skip
    """The mean over examples of |Σ activation × gradient| of each component, summed over the tensors it is in.

    Args:
        traced: The graph.
        places: As `gates` gives them.
        examples: Calibration inputs.
        answer: The model.
        goal: The loss.
        others: Scores of components, for groups of which nothing is found.
    """
    import numpy as np

    tf = require("tensorflow", "tensorflow")
    unit = examples.batch or 1
    total = min(examples.count, max(_MOST, unit)) // unit * unit
    open_ = {n: tf.ones(shape(traced.axes[n], place, unit), tf.float32) for n, place in places.items()}

    @tf.function(reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def derivatives(feeds: Any, targets: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(open_)
            loss = goal.loss(targets, answer(feeds, open_))
        return tape.gradient(loss, open_, unconnected_gradients="zero")

    found: dict[int, float] = {}
    components = {name: traced.labels.roots(axis) for name, axis in _channels(traced, places)}
    for start in range(0, total, unit):
        feeds = examples.part(slice(start, start + unit))
        targets = goal.targets(Batch(np.arange(start, start + unit), feeds))
        made = derivatives({name: tf.convert_to_tensor(value) for name, value in feeds.items()}, targets)
        for name, value in made.items():
            rows = np.moveaxis(value.numpy(), places[name], -1).astype(np.float64)
            known, column = np.unique(components[name], return_inverse=True)
            for row in rows.reshape(-1, rows.shape[-1]):  # flattened positions of a channel are several columns
                for component, one in zip(known, np.bincount(column, row), strict=True):
                    found[int(component)] = found.get(int(component), 0.0) + abs(float(one)) / total
        examples.report(start + unit, total, "ranking channels")
    return with_others(traced, found, others)


def _channels(traced: Labeled, places: Mapping[str, int]) -> Iterator[tuple[str, NDArray[Any]]]:
    for name, place in places.items():
        axis = traced.axes[name][place]
        assert axis is not None
        yield name, axis

"""How long the layers of a model take on this machine, by how much of them is left.

Each convolution and product is timed alone at a few widths, in ONNX Runtime on one thread, whatever the model's format.
What a layer takes between two widths lies between what it took at them. Runtimes join layers and do other work between
them, so that the sum is not yet the time of the model: where the model itself can be timed, whole and with half of its
channels, the sum is brought to what that took.
"""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from deploykit.core.extras import require
from deploykit.core.serial import Plain
from deploykit.surgery.channels.budget import Expense, owners
from deploykit.surgery.channels.labels import Group, Labels, Ranking, kept_count
from deploykit.surgery.onnx_session import opened
from deploykit.surgery.reconstruction.linear import Linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Shares of the channels with which a layer is timed; kernels are fastest at multiples of 8.
_SHARES = (1.0, 0.75, 0.5, 0.25)
_MULTIPLE = 8
#: The shortest of so many calls counts, or of as many as there are in this time: other work only ever adds to it.
_CALLS, _MOST_CALLS, _SECONDS = 10, 300, 0.02
#: Size of an axis that the model leaves free, but for the first one, which has one example.
_FREE = 16


class Traced(Protocol):
    """A graph whose axes have labels, of whichever format.

    Attributes:
        labels: What joins them.
        axes: For every tensor, the labels of each axis; None for an axis of unknown length.
        shapes: Shape of every tensor; None for an unknown dimension.
    """

    labels: Labels
    axes: dict[str, list[NDArray[Any] | None]]

    @property
    def shapes(self) -> Mapping[str, Sequence[int | None]]: ...  # noqa: D102  an attribute of both formats

    def groups(self) -> list[Group]:
        """The groups of channels that compete."""


@dataclass(frozen=True)
class Times(Plain):
    """What was measured.

    Attributes:
        layers: The tensor that a layer writes → what share of its weights is left, and seconds; ascending.
        rest: Seconds that stay whatever is left of the layers.
    """

    layers: dict[str, list[tuple[float, float]]]
    rest: float = 0.0

    def expenses(self, traced: Traced, layers: Iterable[Linear], rankings: Sequence[Ranking]) -> list[Expense]:
        """The layers as expenses in seconds, by the groups whose channels they read and write.

        Args:
            traced: The graph.
            layers: Its convolutions and products.
            rankings: The groups, whose places in this list are their numbers.
        """
        numbers, found = owners(rankings), [Expense((), self.rest)]
        for layer in layers:
            axes = [traced.axes[name][layer.channels] for name in _ends(layer)]
            curve = tuple(self.layers[layer.node.output[0]])
            found.append(Expense.of(traced.labels, axes, numbers, 1.0, curve))
        return found


def measure(
    traced: Traced,
    layers: Sequence[Linear],
    report: Callable[[float, float, str], None],
    shares: Sequence[float] = _SHARES,
) -> Times:
    """Time every layer at a few widths.

    Args:
        traced: The graph.
        layers: Its convolutions and products.
        report: Called with what is done, all there is, and words.
        shares: Shares of the channels that are left.
    """
    nothing, known = _nothing(), dict[str, float]()
    found: dict[str, list[tuple[float, float]]] = {}
    for number, layer in enumerate(layers):
        points: dict[float, float] = {}
        for share in shares:
            model, left = _alone(traced, layer, share)
            key = hashlib.sha256(model.SerializeToString()).hexdigest()
            if key not in known:
                known[key] = max(seconds(model) - nothing, 0.0)
            points[left] = known[key]
        slowest, curve = 0.0, list[tuple[float, float]]()
        for left, taken in sorted(points.items()):  # less never takes longer, but for noise
            slowest = max(slowest, taken)
            curve.append((left, slowest))
        found[layer.node.output[0]] = curve
        report(number + 1, len(layers), "timing layers")
    return Times(found)


def fitted(times: Times, traced: Traced, layers: Sequence[Linear], cut: Callable[[Iterable[int]], Any]) -> Times:
    """The times of layers brought to what the model takes, whole and with half of its channels.

    Args:
        times: The times of layers.
        traced: The graph.
        layers: Its convolutions and products.
        cut: Gives the ``ModelProto`` without some components.
    """
    rankings = [Ranking(group, ()) for group in traced.groups()]
    gone = [len(r.group.components) - kept_count(len(r.group.components), 0.5, _MULTIPLE) for r in rankings]
    shares = [1.0 - count / len(r.group.components) for count, r in zip(gone, rankings, strict=True)]
    try:
        taken = [
            seconds(cut([])),
            seconds(cut([c for count, r in zip(gone, rankings, strict=True) for c in r.group.components[:count]])),
        ]
    except MemoryError:
        raise
    except Exception:  # sizes that the model leaves free may have to fit each other
        traceback.print_exc()  # into the log of the task
        return times
    parts = times.expenses(traced, layers, rankings)
    sums = [sum(part.cost(s) for part in parts) for s in ([1.0] * len(rankings), shares)]
    if sums[0] <= sums[1] or taken[0] <= taken[1]:
        return times
    factor = min((taken[0] - taken[1]) / (sums[0] - sums[1]), taken[0] / sums[0])
    layers_now = {name: [(left, factor * t) for left, t in curve] for name, curve in times.layers.items()}
    return Times(layers_now, taken[0] - factor * sums[0])


def seconds(model: Any) -> float:
    """The shortest time of a call of a ``ModelProto`` on one thread, with one example."""
    return fastest([model])[0]


def fastest(models: Sequence[Any], patience: int = 1) -> list[float]:
    """The shortest time of a call of each ``ModelProto``; they are called in turns, so that other work strikes all.

    Args:
        models: The models.
        patience: How many times as long as usual they are called.
    """
    sessions = [opened(model, optimized=True) for model in models]
    feeds = [{value.name: _filled(value) for value in session.get_inputs()} for session in sessions]
    return in_turns(
        [partial(session.run, None, given) for session, given in zip(sessions, feeds, strict=True)], patience
    )


def in_turns(calls: Sequence[Callable[[], Any]], patience: int = 1) -> list[float]:
    """The shortest time of each call; they are made in turns, so that other work strikes all of them.

    Args:
        calls: Calls of sessions.
        patience: How many times as long as usual they are made.
    """
    for _ in range(2):
        for call in calls:
            call()
    best, count, began = [float("inf")] * len(calls), 0, time.perf_counter()
    most, lasting = _MOST_CALLS * patience, _SECONDS * patience * len(calls)
    while count < _CALLS or (count < most and time.perf_counter() - began < lasting):
        for place, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[place] = min(best[place], time.perf_counter() - start)
        count += 1
    return best


def _ends(layer: Linear) -> list[str]:
    """The tensors whose channels a layer's time goes with."""
    return [layer.node.output[0]] if layer.is_depthwise else [layer.node.input[0], layer.node.output[0]]


def _alone(traced: Traced, layer: Linear, share: float) -> tuple[Any, float]:
    """A ``ModelProto`` of one layer with a share of its channels, and what share of its weights that is."""
    helper, onnx = require("onnx.helper", ""), require("onnx", "")
    read, write = layer.node.input[0], layer.node.output[0]
    shape = [size or _FREE for size in traced.shapes[read]]
    shape[0] = 1
    if layer.is_product:
        inputs, outputs = layer.matrices().shape[1:]
    else:
        outputs, inputs = len(layer.weights), layer.weights.shape[1] * layer.groups
    width = {read: inputs, write: outputs}
    groups = 1 if layer.is_depthwise else layer.groups
    for name in width:
        if traced.labels.is_live(traced.axes[name][layer.channels]):
            width[name] = _left(width[name], groups, share)
    if layer.is_depthwise:
        width[write] = width[read] * (outputs // inputs)
    left = width[write] / outputs * (1.0 if layer.is_depthwise else width[read] / inputs)
    sizes = [*shape[:-1], width[read]]
    given: dict[str, Any] = {}
    if layer.is_product:
        weights = [width[read], width[write]]
    else:
        del shape[0], shape[layer.channels if layer.channels < 0 else layer.channels - 1]
        groups = width[read] if layer.is_depthwise else layer.groups
        sizes = [1, width[read], *shape]
        weights = [width[write], width[read] // groups, *layer.weights.shape[2:]]
        given = {k: v for k, v in layer.window.items() if k in {"strides", "dilations", "pads", "auto_pad"}}
        given["group"] = groups
    kind = onnx.TensorProto.FLOAT
    node = helper.make_node("MatMul" if layer.is_product else "Conv", ["x", "w"], ["y"], **given)
    values = helper.make_tensor("w", kind, weights, _noise(weights).tobytes(), raw=True)
    graph = helper.make_graph(
        [node], "layer", [helper.make_tensor_value_info("x", kind, sizes)],
        [helper.make_tensor_value_info("y", kind, [None] * len(sizes))], [values],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), left


def _left(size: int, groups: int, share: float) -> int:
    """How many channels are left; every group of a convolution keeps the same number."""
    return groups * kept_count(size // groups, 1.0 - share, _MULTIPLE)


def _nothing() -> float:
    """What calling a session takes by itself."""
    parser = require("onnx.parser", "")
    empty = '<ir_version: 8, opset_import: ["": 17]> g (float[1] x) => (float[1] y) { y = Identity(x) }'
    return seconds(parser.parse_model(empty))


def _filled(value: Any) -> NDArray[Any]:
    """Something to feed to an input of a session."""
    import numpy as np

    shape = [size if isinstance(size, int) else _FREE for size in value.shape]
    if shape and not isinstance(value.shape[0], int):
        shape[0] = 1
    if value.type == "tensor(float)":
        return _noise(shape)
    kinds = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_, "tensor(uint8)": np.uint8}
    return np.zeros(shape, kinds[value.type])


def _noise(shape: Sequence[int]) -> NDArray[Any]:
    import numpy as np

    return np.random.default_rng(0).normal(0.0, 0.1, shape).astype(np.float32)

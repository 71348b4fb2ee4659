"""How each ONNX operator passes channels on: one rule an operator; see `deploykit.surgery.channels.labels`.

A rule joins the labels of what a node reads and gives labels to what it writes. Removing a component must leave every
other number as it is, so an axis over which an operator normalizes or averages is frozen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from deploykit.loading._onnx.parts import attributes
from deploykit.surgery.channels import onnx_shape_rules as shapes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.surgery.channels.onnx_axes import Traced

Rule = Callable[["Traced", Any], None]


def _same(traced: Traced, node: Any) -> None:
    traced.axes[node.output[0]] = list(traced.axes[node.input[0]])
    for name in node.output[1:]:  # the mask of a Dropout
        if name and name in traced.shapes:
            traced.axes[name] = list(traced.axes[node.input[0]])


def _broadcast(traced: Traced, node: Any) -> None:
    """Element by element, axes of length 1 repeated."""
    shape = traced.shapes.get(node.output[0])
    if shape is None:
        traced.freeze(node)
        return
    found: list[NDArray[Any] | None] = [None] * len(shape)
    for name in filter(None, node.input):
        axes = traced.axes[name]
        for k, axis in enumerate(axes):
            place = len(shape) - len(axes) + k
            if axis is None or len(axis) <= 1:
                continue
            if shape[place] is None:
                traced.labels.freeze(axis)
                continue
            other = found[place]
            if other is None:
                found[place] = axis
            else:
                traced.labels.join(other, axis)
    still = traced.still(node.output[0])
    traced.axes[node.output[0]] = [one if one is not None else two for one, two in zip(found, still, strict=True)]


def _freeze_space(traced: Traced, node: Any) -> None:
    """Keep what lies in the axes behind the channels, over which an operator slides or averages."""
    for axis in traced.axes[node.input[0]][2:]:
        traced.labels.freeze(axis)


def _pool(traced: Traced, node: Any) -> None:
    _freeze_space(traced, node)
    axes = traced.still(node.output[0])
    axes[1] = traced.axes[node.input[0]][1]
    traced.axes[node.output[0]] = axes
    for name in node.output[1:]:
        if name:
            traced.freeze(node)


def _reduce(traced: Traced, node: Any) -> None:
    source = traced.axes[node.input[0]]
    chosen = shapes.axes_of(traced, node, 1, range(len(source)))
    if chosen is None:
        traced.freeze(node)
        return
    keep = attributes(node).get("keepdims", 1)
    found: list[NDArray[Any] | None] = []
    for k, axis in enumerate(source):
        if k not in chosen:
            found.append(axis)
            continue
        if node.op_type != "ReduceSum":  # a sum does not notice that a channel of zeros is missing
            traced.labels.freeze(axis)
        if keep:
            found.append(shapes.zeros(1))
    traced.axes[node.output[0]] = found


def _conv(traced: Traced, node: Any) -> None:
    import numpy as np

    labels = traced.labels
    source, weight = traced.axes[node.input[0]], traced.axes[node.input[1]]
    count = attributes(node).get("group", 1)
    outputs, inputs = traced.shapes[node.input[1]][:2]
    if outputs is None or inputs is None or weight[0] is None or weight[1] is None or source[1] is None:
        traced.freeze(node)
        return
    if count == 1:
        labels.join(source[1], weight[1])
    elif inputs > 1:  # the same place in every group goes together
        labels.join(source[1], np.tile(weight[1], count))
        size = outputs // count
        for j in range(1, count):
            labels.join(weight[0][:size], weight[0][j * size : (j + 1) * size])
    else:  # depthwise, perhaps with several filters a channel: whole groups go
        labels.freeze(weight[1])
        labels.join(np.repeat(source[1], outputs // count), weight[0])
    _freeze_space(traced, node)
    for axis in weight[2:]:
        labels.freeze(axis)
    if len(node.input) > 2 and node.input[2]:
        labels.join(traced.axes[node.input[2]][0], weight[0])
    if count == 1 or inputs > 1:
        traced.produce(node, node.input[1], 0)
    axes = traced.still(node.output[0])
    axes[1] = weight[0]
    traced.axes[node.output[0]] = axes


def _conv_transpose(traced: Traced, node: Any) -> None:
    if attributes(node).get("group", 1) != 1:
        traced.freeze(node)
        return
    source, weight = traced.axes[node.input[0]], traced.axes[node.input[1]]
    traced.labels.join(source[1], weight[0])
    _freeze_space(traced, node)
    for axis in weight[2:]:
        traced.labels.freeze(axis)
    if len(node.input) > 2 and node.input[2]:
        traced.labels.join(traced.axes[node.input[2]][0], weight[1])
    traced.produce(node, node.input[1], 1)
    axes = traced.still(node.output[0])
    axes[1] = weight[1]
    traced.axes[node.output[0]] = axes


def _per_channel(traced: Traced, node: Any) -> None:
    """Batch and instance normalization: each channel by itself."""
    _freeze_space(traced, node)
    for name in node.input[1:]:
        traced.labels.join(traced.axes[node.input[0]][1], traced.axes[name][0])
    traced.axes[node.output[0]] = list(traced.axes[node.input[0]])


def _gemm(traced: Traced, node: Any) -> None:
    given = attributes(node)
    if given.get("transA", 0):
        traced.freeze(node)
        return
    source, weight = traced.axes[node.input[0]], traced.axes[node.input[1]]
    into, out = (1, 0) if given.get("transB", 0) else (0, 1)
    traced.labels.join(source[1], weight[into])
    if len(node.input) > 2 and node.input[2]:
        bias = traced.axes[node.input[2]]
        last = bias[-1] if bias else None
        if last is not None and len(last) > 1:
            traced.labels.join(last, weight[out])
        for axis in bias[:-1]:
            traced.labels.freeze(axis)
    traced.produce(node, node.input[1], out)
    traced.axes[node.output[0]] = [source[0], weight[out]]


def _matmul(traced: Traced, node: Any) -> None:
    first, second = traced.axes[node.input[0]], traced.axes[node.input[1]]
    if len(first) < 2 or len(second) < 2:
        traced.freeze(node)
        return
    traced.labels.join(first[-1], second[-2])
    batch: list[NDArray[Any] | None] = []
    for k in range(max(len(first), len(second)) - 2):
        one = first[-3 - k] if k < len(first) - 2 else None
        two = second[-3 - k] if k < len(second) - 2 else None
        if one is not None and two is not None and len(one) == len(two):
            traced.labels.join(one, two)
        batch.insert(0, two if one is None or (len(one) == 1 and two is not None) else one)
    traced.produce(node, node.input[1], len(second) - 1)
    traced.axes[node.output[0]] = [*batch, first[-2], second[-1]]


def _softmax(traced: Traced, node: Any) -> None:
    source = traced.axes[node.input[0]]
    if traced.operators >= 13:
        traced.labels.freeze(source[attributes(node).get("axis", -1)])
    else:  # all axes from this one on are normalized together
        for axis in source[attributes(node).get("axis", 1) % len(source) :]:
            traced.labels.freeze(axis)
    traced.axes[node.output[0]] = list(source)


def _layer_norm(traced: Traced, node: Any) -> None:
    source = traced.axes[node.input[0]]
    for axis in source[attributes(node).get("axis", -1) % len(source) :]:
        traced.labels.freeze(axis)
    for name in filter(None, node.input[1:]):
        for axis in traced.axes[name]:
            traced.labels.freeze(axis)
    traced.axes[node.output[0]] = list(source)


_UNARY = (
    "Abs", "Cast", "Ceil", "Celu", "Clip", "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish",
    "Identity", "LeakyRelu", "Log", "Mish", "Neg", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Softplus",
    "Softsign", "Sqrt", "Swish", "Tanh", "ThresholdedRelu",
)  # fmt: skip
_BINARY = ("Add", "Div", "Equal", "Greater", "Less", "Max", "Mean", "Min", "Mul", "PRelu", "Pow", "Sub", "Sum", "Where")
_POOLS = ("AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool")
_REDUCTIONS = ("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum")
#: Operator to rule.
RULES: dict[str, Rule] = {
    **shapes.RULES,
    **dict.fromkeys(_UNARY, _same),
    **dict.fromkeys(_BINARY, _broadcast),
    **dict.fromkeys(_POOLS, _pool),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    "BatchNormalization": _per_channel,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "InstanceNormalization": _per_channel,
    "LayerNormalization": _layer_norm,
    "LogSoftmax": _softmax,
    "MatMul": _matmul,
    "Softmax": _softmax,
}

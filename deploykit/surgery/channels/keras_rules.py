"""What layers and operations of Keras do to the labels of channels.

A rule gives the labels of the axes of what a step writes, or None when it does not know: then everything that the step
touches stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.surgery.channels.keras_axes import Traced
from deploykit.surgery.channels.keras_graph import Step

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Axes = list[NDArray[Any] | None]
Rule = Callable[[Traced, Step], "Axes | None"]

#: Activation functions that look at one number at a time.
_ELEMENTWISE = (
    "linear relu relu6 leaky_relu elu selu celu gelu silu mish tanh sigmoid hard_sigmoid hard_silu hard_tanh softplus "
    "softsign exponential log_sigmoid tanh_shrink soft_shrink hard_shrink threshold squareplus"
)
_UNARY_LAYERS = (
    "Identity Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D GaussianNoise GaussianDropout AlphaDropout "
    "ActivityRegularization ReLU LeakyReLU ELU"
)
_ARITHMETIC = "Add Multiply Subtract Average Maximum Minimum Divide TrueDivide"
_UNARY_OPERATIONS = (
    "Relu Relu6 LeakyRelu Elu Selu Celu Gelu Silu Tanh Sigmoid HardSigmoid HardSilu HardTanh Softplus Softsign "
    "LogSigmoid Abs Absolute Negative Square Sqrt Exp Expm1 Log Log1p Sin Cos Sign Rsqrt Reciprocal Erf Cast Clip"
)


def _channels(step: Step, rank: int) -> int:
    """The axis of channels of a layer with a data format."""
    return 1 if getattr(step.op, "data_format", None) == "channels_first" else rank - 1


def _source(traced: Traced, step: Step) -> Axes:
    return traced.axes[step.input[0]]


def _unary(traced: Traced, step: Step) -> Axes | None:
    return list(_source(traced, step)) if len(_tensors(step)) == 1 else None


def _tensors(step: Step) -> list[str]:
    return [name for name in step.input if not name.endswith("/mask")]


def _activation(traced: Traced, step: Step) -> Axes | None:
    name = getattr(step.op.activation, "__name__", "")
    own = getattr(step.op.activation, "__module__", "").startswith("keras.")
    return list(_source(traced, step)) if own and name in _ELEMENTWISE.split() else None


def _with_channels(traced: Traced, step: Step, labels: NDArray[Any] | None, place: int) -> Axes:
    """Nothing but channels is live."""
    found = traced.still(step.output[0])
    found[place % len(found)] = labels
    return found


def _spatial(traced: Traced, step: Step) -> Axes | None:
    """Channels stay apart, whatever happens along the other axes."""
    source = _source(traced, step)
    place = _channels(step, len(source))
    out = -1 if len(traced.shapes[step.output[0]]) < len(source) else place
    return _with_channels(traced, step, source[place], out)


def _bias(traced: Traced, step: Step, number: int, labels: NDArray[Any]) -> None:
    if step.op.use_bias:
        traced.labels.join(traced.weight(step, number)[0], labels)


def _convolution(traced: Traced, step: Step) -> Axes | None:
    source = _source(traced, step)
    place = _channels(step, len(source))
    read, groups = source[place], step.op.groups
    width = traced.weight(step, 0)[-2]
    made = traced.produce(step, 0, step.op.weights[0].shape.rank - 1)
    if read is None or width is None:
        return None
    for k in range(groups):  # the same place in each group goes together, so that groups keep one width
        traced.labels.join(read[k * len(width) : (k + 1) * len(width)], width)
        traced.labels.join(made[k * len(made) // groups : (k + 1) * len(made) // groups], made[: len(made) // groups])
    _bias(traced, step, 1, made)
    return _with_channels(traced, step, made, place)


def _transposed(traced: Traced, step: Step) -> Axes | None:
    source = _source(traced, step)
    place, axes = _channels(step, len(source)), traced.weight(step, 0)
    if source[place] is None or getattr(step.op, "groups", 1) != 1:
        return None
    traced.labels.join(source[place], axes[-1])
    made = traced.produce(step, 0, len(axes) - 2)
    _bias(traced, step, 1, made)
    return _with_channels(traced, step, made, place)


def _depthwise(traced: Traced, step: Step) -> Axes | None:
    import numpy as np

    source = _source(traced, step)
    place, axes = _channels(step, len(source)), traced.weight(step, 0)
    read = source[place]
    if read is None:
        return None
    traced.labels.join(read, axes[-2])
    traced.labels.freeze(axes[-1])
    made = np.repeat(read, step.op.depth_multiplier)
    if step.kind.startswith("Depthwise"):
        _bias(traced, step, 1, made)
    return _with_channels(traced, step, made, place)


def _separable(traced: Traced, step: Step) -> Axes | None:
    if step.part == "depthwise":
        return _depthwise(traced, step)
    if step.part != "pointwise":
        return _activated(traced, step)
    source = _source(traced, step)
    place, axes = _channels(step, len(source)), traced.weight(step, 1)
    traced.labels.join(source[place], axes[-2])
    made = traced.produce(step, 1, len(axes) - 1)
    _bias(traced, step, 2, made)
    return _with_channels(traced, step, made, place)


def _activated(traced: Traced, step: Step) -> Axes | None:
    return _activation(traced, step)


def _product(rule: Rule) -> Rule:
    """A layer whose activation is a step of its own."""
    return lambda traced, step: _activation(traced, step) if step.part == "activation" else rule(traced, step)


def _dense(traced: Traced, step: Step) -> Axes | None:
    source = _source(traced, step)
    if source[-1] is None or getattr(step.op, "quantization_mode", None) or getattr(step.op, "lora_enabled", False):
        return None
    traced.labels.join(source[-1], traced.weight(step, 0)[0])
    made = traced.produce(step, 0, 1)
    _bias(traced, step, 1, made)
    return [*source[:-1], made]


def _embedding(traced: Traced, step: Step) -> Axes | None:
    if getattr(step.op, "quantization_mode", None) or getattr(step.op, "lora_enabled", False):
        return None
    traced.labels.freeze(traced.weight(step, 0)[0])
    return [*_source(traced, step), traced.produce(step, 0, 1)]


def _normalization(traced: Traced, step: Step) -> Axes | None:
    source, axis = _source(traced, step), step.op.axis
    if not isinstance(axis, int) or source[axis] is None:
        return None
    for number in range(len(step.op.weights)):
        traced.labels.join(traced.weight(step, number)[0], source[axis])
    return list(source)


def _prelu(traced: Traced, step: Step) -> Axes | None:
    source = _source(traced, step)
    for slope, axis in zip(traced.weight(step, 0), source[1:], strict=True):
        if axis is not None and slope is not None and len(slope) == len(axis):
            traced.labels.join(slope, axis)
        else:
            traced.labels.freeze(slope)
    return list(source)


def _elementwise(traced: Traced, step: Step) -> Axes | None:
    """Inputs are broadcast against each other from the right."""
    import numpy as np

    keras = require("keras", "tensorflow")
    args, kwargs = step.fill({name: _Tensor() for name in step.input})
    given = [item for item in keras.tree.flatten((args, kwargs)) if not isinstance(item, _Tensor | str | type(None))]
    if any(np.size(item) > 1 for item in given):
        return None
    shape, axes = traced.shapes[step.output[0]], [traced.axes[name] for name in _tensors(step)]
    found: Axes = []
    for k in range(-len(shape), 0):
        here = [one[k] for one in axes if len(one) >= -k]
        wide = [labels for labels in here if labels is None or len(labels) > 1]
        for labels in here:
            if labels is not None and len(labels) == 1:
                traced.labels.freeze(labels)
        if shape[k] is None:
            for labels in wide:
                traced.labels.freeze(labels)
            found.append(None)
            continue
        for labels in wide[1:]:
            traced.labels.join(wide[0], labels)
        found.append(wide[0] if wide else np.zeros(shape[k] or 0, np.int64))
    return found


class _Tensor:
    """Stands for a tensor among arguments."""


def _concatenation(traced: Traced, step: Step) -> Axes | None:
    import numpy as np

    keras = require("keras", "tensorflow")
    names = keras.tree.flatten(step.fill({name: name for name in step.input})[0])
    axes = [traced.axes[name] for name in names if name in traced.axes]
    place = step.op.axis % len(axes[0])
    found: Axes = []
    for k, here in enumerate(zip(*axes, strict=True)):
        known = [labels for labels in here if labels is not None]
        if k == place:
            found.append(np.concatenate(known) if len(known) == len(here) else None)
            continue
        for labels in known[1:]:
            traced.labels.join(known[0], labels)
        found.append(known[0] if len(known) == len(here) else None)
    return found


def _reduction(traced: Traced, step: Step) -> Axes | None:
    source, axis = _source(traced, step), step.op.axis
    places = range(len(source)) if axis is None else [axis] if isinstance(axis, int) else axis
    gone = {place % len(source) for place in places}
    for place in gone:
        if traced.labels.is_live(source[place]):
            return None
    kept = [labels for k, labels in enumerate(source) if k not in gone]
    if not step.op.keepdims:
        return kept
    import numpy as np

    return [np.zeros(1, np.int64) if k in gone else labels for k, labels in enumerate(source)]


def _permutation(traced: Traced, step: Step) -> Axes | None:
    source = _source(traced, step)
    if step.kind == "Permute":
        return [source[0], *(source[k] for k in step.op.dims)]
    order = step.op.axes if step.op.axes is not None else range(len(source))[::-1]
    return [source[k] for k in order]


def _flatten(traced: Traced, step: Step) -> Axes | None:
    source, sizes = _source(traced, step), traced.shapes[step.input[0]]
    if step.op.data_format == "channels_first" and len(source) > 1:
        source = [source[0], *source[2:], source[1]]
        sizes = (sizes[0], *sizes[2:], sizes[1])
    return _reshaped(traced, source, sizes, traced.shapes[step.output[0]])


def _reshape(traced: Traced, step: Step) -> Axes | None:
    return _reshaped(traced, _source(traced, step), traced.shapes[step.input[0]], traced.shapes[step.output[0]])


def _reshaped(traced: Traced, source: Axes, old: Sequence[int | None], new: Sequence[int | None]) -> Axes | None:
    """Labels of what has the same numbers in another shape."""
    import numpy as np

    first = 0
    while first < min(len(old), len(new)) and old[first] == new[first]:
        first += 1
    last = 0
    while last < min(len(old), len(new)) - first and old[-1 - last] == new[-1 - last]:
        last += 1
    inner, outer = old[first : len(old) - last], new[first : len(new) - last]
    axes = source[first : len(source) - last]
    live = [k for k, labels in enumerate(axes) if traced.labels.is_live(labels)]
    made: Axes = [None if size is None else np.zeros(size, np.int64) for size in outer]
    if live:
        if len(live) > 1 or None in inner or None in outer:
            return None
        labels = axes[live[0]]
        assert labels is not None
        shape = [len(labels) if k == live[0] else 1 for k in range(len(inner))]
        grid = np.broadcast_to(labels.reshape(shape), [size or 0 for size in inner])
        grid = grid.reshape([size or 0 for size in outer])
        place = _carrier(grid, len(labels))
        if place is None:
            return None
        rows = np.moveaxis(grid, place, 0).reshape(grid.shape[place], -1)
        for column in range(1, rows.shape[1]):
            traced.labels.join(rows[:, 0], rows[:, column])
        made[place] = rows[:, 0]
    return [*source[:first], *made, *source[len(source) - last :]]


def _carrier(grid: NDArray[Any], count: int) -> int | None:
    """The axis that alone has all labels, or the first one of those that share them out."""
    for place in range(grid.ndim):
        rows = grid.swapaxes(place, 0).reshape(grid.shape[place], -1)
        if (rows == rows[:, :1]).all():
            return place
    wide = [place for place, size in enumerate(grid.shape) if size > 1]
    split = math.prod(grid.shape) == count  # one axis became several: whole blocks go together, as heads do
    return wide[0] if split and wide else None


def _attention(traced: Traced, step: Step) -> Axes | None:
    """Heads go as a whole; what they compute inside stays."""
    import numpy as np

    op = step.op
    if not step.part or op._num_heads < 2:
        return None
    places = {w.path.split("/")[-2:][0] + "/" + w.name: k for k, w in enumerate(op.weights)}
    output = traced.weight(step, places["attention_output/kernel"])
    if step.part == "projection":
        return _projection(traced, step, places)
    args, kwargs = step.fill({name: name for name in step.input})
    query = kwargs.get("query", args[0] if args else None)
    value = kwargs.get("value", args[1] if len(args) > 1 else None)
    key = kwargs.get("key", args[2] if len(args) > 2 else None) or value
    read, heads = {"query": query, "key": key, "value": value}, None
    if not all(name in traced.axes and traced.axes[name][-1] is not None for name in read.values()):
        return None
    for part, name in read.items():
        kernel = traced.weight(step, places[f"{part}/kernel"])
        made = traced.produce(step, places[f"{part}/kernel"], 1)
        traced.labels.join(kernel[0], traced.axes[name][-1])
        traced.labels.freeze(kernel[2])
        heads = made if heads is None else heads
        traced.labels.join(heads, made)
        if op._use_bias:
            bias = traced.weight(step, places[f"{part}/bias"])
            traced.labels.join(heads, bias[0])
            traced.labels.freeze(bias[1])
    traced.labels.join(output[2], traced.axes[query][-1])  # without a setting of its own it is as wide as the query
    for name in _tensors(step):
        if name not in read.values():
            for labels in traced.axes[name]:
                traced.labels.freeze(labels)
    assert heads is not None
    return [*traced.axes[query][:-1], np.repeat(heads, op._value_dim)]


def _projection(traced: Traced, step: Step, places: dict[str, int]) -> Axes | None:
    """The product behind the heads of an attention."""
    source, output = _source(traced, step), traced.weight(step, places["attention_output/kernel"])
    if not traced.labels.is_live(source[-1]) or source[-1] is None:
        return None
    traced.labels.join(source[-1][:: step.op._value_dim], output[0])
    traced.labels.freeze(output[1])
    made = traced.produce(step, places["attention_output/kernel"], 2)
    if step.op._use_bias:
        traced.labels.join(made, traced.weight(step, places["attention_output/bias"])[0])
    return [*source[:-1], made]


def _rules() -> dict[str, Rule]:
    spatial = [
        *(f"{kind}Pooling{n}D" for kind in ("Max", "Average", "GlobalMax", "GlobalAverage") for n in (1, 2, 3)),
        *(f"{kind}{n}D" for kind in ("ZeroPadding", "Cropping", "UpSampling") for n in (1, 2, 3)),
    ]
    found: dict[str, Rule] = dict.fromkeys([*_UNARY_LAYERS.split(), *_UNARY_OPERATIONS.split()], _unary)
    found |= dict.fromkeys(spatial, _spatial)
    found |= dict.fromkeys(_ARITHMETIC.split(), _elementwise)
    found |= {f"Conv{n}D": _product(_convolution) for n in (1, 2, 3)}
    found |= {f"Conv{n}DTranspose": _product(_transposed) for n in (1, 2, 3)}
    found |= {f"DepthwiseConv{n}D": _product(_depthwise) for n in (1, 2)}
    found |= {f"SeparableConv{n}D": _separable for n in (1, 2)}
    found |= dict.fromkeys(("Mean", "Sum", "Max", "Min", "Amax", "Amin"), _reduction)
    return found | {
        "Dense": _product(_dense), "Embedding": _embedding, "BatchNormalization": _normalization, "PReLU": _prelu,
        "Activation": _activation, "Concatenate": _concatenation, "Flatten": _flatten, "Reshape": _reshape,
        "Permute": _permutation, "Transpose": _permutation, "MultiHeadAttention": _attention,
    }  # fmt: skip


#: Rule of each class of layers and operations.
RULES = _rules()

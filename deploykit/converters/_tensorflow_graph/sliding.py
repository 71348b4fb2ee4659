"""Operators whose windows slide over the spatial axes: convolutions and pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from deploykit.converters._tensorflow_graph.calls import Call, Rule, tensorflow
from deploykit.converters._tensorflow_graph.values import Dims, Value

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class _Window:
    """How a window slides.

    Attributes:
        size: Its size along each spatial axis.
        strides: Steps.
        dilations: Distance of its elements.
        before: Padding in front of each axis.
        after: Padding behind it.
        same: Whether TensorFlow's own ``SAME`` pads like this.
    """

    size: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]
    after: list[int]
    same: bool

    @property
    def padding(self) -> str:
        """TensorFlow's name of the padding, once `padded` has been applied."""
        return "SAME" if self.same else "VALID"

    @property
    def reach(self) -> list[int]:
        """How many elements of each axis a window spans."""
        return [(k - 1) * d + 1 for k, d in zip(self.size, self.dilations, strict=True)]

    def padded(self, x: Any, value: float = 0.0) -> Any:
        """The tensor, channels last, with explicit padding unless ``SAME`` does it."""
        tf = tensorflow()
        if self.same or not any(self.before + self.after):
            return x
        pads = [[0, 0], *([b, a] for b, a in zip(self.before, self.after, strict=True)), [0, 0]]
        return tf.pad(x, pads, constant_values=tf.constant(value, x.dtype))


def _window(call: Call, size: Sequence[int], space: Dims) -> _Window:
    """How the window of a node slides over axes of these sizes."""
    count = len(size)
    strides = list(call.get("strides") or [1] * count)
    dilations = list(call.get("dilations") or [1] * count)
    reach = [(k - 1) * d + 1 for k, d in zip(size, dilations, strict=True)]
    automatic = call.get("auto_pad", "NOTSET")
    pads = list(call.get("pads") or [0] * (2 * count))
    needed = [
        max((-(-n // s) - 1) * s + r - n, 0) if n is not None else r - 1 if s == 1 else None
        for n, s, r in zip(space, strides, reach, strict=True)
    ]
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        if automatic == "SAME_UPPER" or all(n is not None and n % 2 == 0 for n in needed):
            return _Window(list(size), strides, dilations, [0] * count, [0] * count, same=True)
        if None in needed:
            raise call.refused("its padding depends on the size of the input")
        total = [n or 0 for n in needed]
        return _Window(list(size), strides, dilations, [n - n // 2 for n in total], [n // 2 for n in total], same=False)
    if automatic == "VALID":
        pads = [0] * (2 * count)
    before, after = pads[:count], pads[count:]
    if call.get("ceil_mode", 0):
        after = [_ceiled(call, *given) for given in zip(space, before, after, reach, strides, strict=True)]
    same = any(pads) and all(
        n is not None and b == n // 2 and a == n - n // 2 for b, a, n in zip(before, after, needed, strict=True)
    )
    return _Window(list(size), strides, dilations, before, after, same)


def _ceiled(call: Call, size: int | None, before: int, after: int, reach: int, stride: int) -> int:
    """The padding behind an axis with which the last window, which may reach over the end, is counted."""
    if size is None:
        raise call.refused("with ceil_mode, its padding depends on the size of the input")
    steps = -(-(size + before + after - reach) // stride)
    if steps * stride >= size + before:  # a window that would begin in the padding is left out
        steps -= 1
    return max(after, steps * stride + reach - size - before)


def _conv(call: Call) -> Value:
    tf = tensorflow()
    x, kernel, groups = call[0].last(), call[1], int(call.get("group", 1))
    shape = kernel.dims
    if not 3 <= len(shape) <= 5 or None in shape:
        raise call.refused(f"its kernel has {len(shape)} axes, or one of unknown length")
    outputs, inputs, *size = (int(d or 0) for d in shape)
    window = _window(call, size, x.shape.as_list()[1:-1])
    order = [*range(2, len(shape)), 1, 0]
    x = window.padded(x)
    if groups > 1 and inputs == 1 and len(size) == 2 and len(set(window.strides)) == 1:
        # (groups × filters of each, 1, height, width) → (height, width, groups, filters of each)
        weights = kernel.arranged([2, 3, 0, 1], (*size, groups, outputs // groups))
        strides = [1, *window.strides, 1]
        y = tf.nn.depthwise_conv2d(x, weights, strides, window.padding, dilations=window.dilations)
    elif groups > 1 and len(size) != 2:
        parts = zip(tf.split(x, groups, -1), tf.split(kernel.arranged(order), groups, -1), strict=True)
        y = tf.concat([_convolved(tf, part, weights, window) for part, weights in parts], -1)
    else:
        y = _convolved(tf, x, kernel.arranged(order), window)
    bias = call.optional(2)
    return Value(last=y if bias is None else tf.nn.bias_add(y, bias.first()))


def _convolved(tf: Any, x: Any, weights: Any, window: _Window) -> Any:
    if len(window.size) == 2:
        return tf.nn.conv2d(x, weights, window.strides, window.padding, dilations=window.dilations)
    return tf.nn.convolution(x, weights, window.strides, window.padding, dilations=window.dilations)


def _transposed(call: Call) -> Value:
    tf = tensorflow()
    x, kernel, groups = call[0].last(), call[1], int(call.get("group", 1))
    shape, space = kernel.dims, x.shape.as_list()[1:-1]
    if len(shape) != 4 or None in shape or None in space:
        raise call.refused("only two spatial axes of known sizes are supported")
    _, filters, *size = (int(d or 0) for d in shape)
    strides, extra = list(call.get("strides") or [1, 1]), list(call.get("output_padding") or [0, 0])
    if set(call.get("dilations") or [1]) != {1}:
        raise call.refused("it is dilated")
    whole = [(n - 1) * s + k for n, s, k in zip(space, strides, size, strict=True)]
    before, made = _cropped(call, whole, strides, space, extra)
    # (inputs, filters of each group, height, width) → (height, width, filters, inputs)
    weights = kernel.arranged([2, 3, 1, 0])
    batch = x.shape[0] if x.shape[0] is not None else tf.shape(x)[0]
    parts = (
        [
            tf.nn.conv2d_transpose(part, kernels, tf.stack([batch, *whole, filters]), strides, "VALID")
            for part, kernels in zip(tf.split(x, groups, -1), tf.split(weights, groups, -1), strict=True)
        ]
        if groups > 1
        else [tf.nn.conv2d_transpose(x, weights, tf.stack([batch, *whole, filters]), strides, "VALID")]
    )
    y = parts[0] if groups == 1 else tf.concat(parts, -1)
    missing = [max(0, b + m - w) for b, m, w in zip(before, made, whole, strict=True)]
    if any(missing):
        y = tf.pad(y, [[0, 0], *([0, m] for m in missing), [0, 0]])
    if before != [0, 0] or made != whole:
        y = y[:, before[0] : before[0] + made[0], before[1] : before[1] + made[1], :]
    bias = call.optional(2)
    return Value(last=y if bias is None else tf.nn.bias_add(y, bias.first()))


def _cropped(
    call: Call, whole: list[int], strides: list[int], space: list[int], extra: list[int]
) -> tuple[list[int], list[int]]:
    """Where the output begins in what all windows together cover, and how long it is."""
    automatic, stated = call.get("auto_pad", "NOTSET"), call.get("output_shape")
    if automatic in ("SAME_UPPER", "SAME_LOWER") or stated:
        made = list(stated[-2:]) if stated else [n * s for n, s in zip(space, strides, strict=True)]
        total = [w + e - m for w, e, m in zip(whole, extra, made, strict=True)]
        upper = automatic != "SAME_UPPER"  # as onnx's reference divides what is left over
        before = [max(0, (t + 1) // 2 if upper and automatic == "SAME_LOWER" else t // 2) for t in total]
        return before, made
    pads = list(call.get("pads") or [0] * 4) if automatic == "NOTSET" else [0] * 4
    made = [w + e - b - a for w, e, b, a in zip(whole, extra, pads[:2], pads[2:], strict=True)]
    return pads[:2], made


def _max_pool(call: Call) -> Value:
    tf = tensorflow()
    if len([name for name in call.node.output if name]) > 1:
        raise call.refused("it gives indices")
    x = call[0].last()
    window = _window(call, call.get("kernel_shape"), x.shape.as_list()[1:-1])
    if set(window.dilations) != {1}:
        raise call.refused("it is dilated")
    x = window.padded(x, x.dtype.min)
    return Value(last=tf.nn.max_pool(x, window.size, window.strides, window.padding))


def _average_pool(call: Call) -> Value:
    import numpy as np

    tf = tensorflow()
    x = call[0].last()
    space = x.shape.as_list()[1:-1]
    window = _window(call, call.get("kernel_shape"), space)
    if set(window.dilations) != {1}:
        raise call.refused("it is dilated")
    inside = bool(call.get("count_include_pad", 0))
    if window.same and not inside:
        return Value(last=tf.nn.avg_pool(x, window.size, window.strides, "SAME"))
    if not any(window.before + window.after) and not window.same:
        return Value(last=tf.nn.avg_pool(x, window.size, window.strides, "VALID"))
    if None in space or (window.same and not any(call.get("pads") or [0])):
        raise call.refused("what it averages over depends on the size of the input")
    plain = _Window(window.size, window.strides, window.dilations, window.before, window.after, same=False)
    y = tf.nn.avg_pool(plain.padded(x), window.size, window.strides, "VALID")
    share = _share(plain, [int(n) for n in space], call.get("pads") if inside else None)
    return Value(last=y if (share == 1).all() else y * tf.constant((1 / share)[None, ..., None].astype(np.float32)))


def _share(window: _Window, space: list[int], pads: list[int] | None) -> NDArray[Any]:
    """Share of each window that counts: what is in the input, and in its stated padding where that counts."""
    import numpy as np

    count = len(space)
    mask = np.ones(space)
    if pads is not None:
        mask = np.pad(mask, list(zip(pads[:count], pads[count:], strict=True)), constant_values=1.0)
    whole = [n + b + a for n, b, a in zip(space, window.before, window.after, strict=True)]
    front = [b if pads is None else 0 for b in window.before]
    mask = np.pad(mask, [(f, w - f - m) for f, w, m in zip(front, whole, mask.shape, strict=True)])
    steps = [(w - k) // s + 1 for w, k, s in zip(whole, window.size, window.strides, strict=True)]
    found = np.empty(steps)
    for place in product(*map(range, steps)):
        spans = zip(place, window.strides, window.size, strict=True)
        found[place] = mask[tuple(slice(p * s, p * s + k) for p, s, k in spans)].mean()
    return found


def _global(name: str) -> Rule:
    def rule(call: Call) -> Value:
        value, function = call[0], getattr(tensorflow(), name)
        axes = sorted(value.axis(axis) for axis in range(2, value.rank))
        return value.like(function(value.native, axes, keepdims=True))

    return rule


RULES: dict[str, Rule] = {
    "Conv": _conv, "ConvTranspose": _transposed, "MaxPool": _max_pool, "AveragePool": _average_pool,
    "GlobalAveragePool": _global("reduce_mean"), "GlobalMaxPool": _global("reduce_max"),
}  # fmt: skip

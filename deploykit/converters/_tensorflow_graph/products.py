"""Matrix products, normalization and softmax."""

from __future__ import annotations

from typing import Any

from deploykit.converters._tensorflow_graph.calls import Call, Rule, tensorflow, together
from deploykit.converters._tensorflow_graph.values import Value, count


def _gemm(call: Call) -> Value:
    tf = tensorflow()
    weights = call[1]
    across = bool(call.get("transB", 0))
    if across and weights.known is not None:
        product = tf.matmul(call[0].first(), weights.arranged([1, 0]), transpose_a=bool(call.get("transA", 0)))
    else:
        product = tf.matmul(
            call[0].first(), weights.first(), transpose_a=bool(call.get("transA", 0)), transpose_b=across
        )
    alpha, beta, bias = call.get("alpha", 1.0), call.get("beta", 1.0), call.optional(2)
    product = product if alpha == 1.0 else product * alpha
    if bias is None or beta == 0.0:
        return Value(product)
    return together(call, tf.add, [Value(product), bias if beta == 1.0 else Value(bias.first() * beta)])


def _product(call: Call) -> Value:
    tf = tensorflow()
    left, right = call[0].first(), call[1].first()
    if call[0].rank == 1 and call[1].rank == 1:
        return Value(tf.tensordot(left, right, 1))
    if call[0].rank == 1:
        return Value(tf.squeeze(tf.matmul(left[None, :], right), -2))
    if call[1].rank == 1:
        return Value(tf.squeeze(tf.matmul(left, right[:, None]), -1))
    return Value(tf.matmul(left, right))


def _einsum(call: Call) -> Value:
    return Value(tensorflow().einsum(call.get("equation"), *(call[k].first() for k in range(len(call.inputs)))))


def _softmax(name: str) -> Rule:
    def rule(call: Call) -> Value:
        tf, value = tensorflow(), call[0]
        function = getattr(tf.nn, name)
        axis = int(call.get("axis", -1 if call.version >= 13 else 1)) % value.rank
        if call.version >= 13 or axis == value.rank - 1:
            return value.like(function(value.native, value.axis(axis)))
        rest = count(value.dims[axis:])  # older sets normalize over this axis and all behind it together
        if rest is None:
            raise call.refused("it normalizes over axes of unknown sizes")
        found = function(tf.reshape(value.first(), [-1, rest]), -1)
        return Value(tf.reshape(found, tf.shape(value.first())))

    return rule


def _batch_norm(call: Call) -> Value:
    """In the form of inference: a scale and a shift of each channel."""
    tf, value = tensorflow(), call[0]
    if call.get("training_mode", 0) or len([name for name in call.node.output if name]) > 1:
        raise call.refused("it is in training mode")
    epsilon = call.get("epsilon", 1e-5)
    scale, shift, mean, variance = (call[k] for k in range(1, 5))
    if scale.known is not None and shift.known is not None and mean.known is not None and variance.known is not None:
        import numpy as np

        factor = scale.known.astype(np.float64) / np.sqrt(variance.known.astype(np.float64) + epsilon)
        rest = shift.known - mean.known * factor
        factor, rest = (tf.constant(array.astype(scale.known.dtype)) for array in (factor, rest))
    else:
        factor = scale.first() * tf.math.rsqrt(variance.first() + epsilon)
        rest = shift.first() - mean.first() * factor
    return value.like(value.native * _of_channels(value, factor) + _of_channels(value, rest))


def _of_channels(value: Value, vector: Any) -> Any:
    """A number for each channel, to broadcast with the native tensor."""
    if value.turned or value.rank == 2:
        return vector
    return tensorflow().reshape(vector, [-1, *[1] * (value.rank - 2)])


def _layer_norm(call: Call) -> Value:
    if len([name for name in call.node.output if name]) > 1:
        raise call.refused("it gives mean and deviation")
    x, bias = call[0].first(), call.optional(2)
    axes = list(range(int(call.get("axis", -1)) % call[0].rank, call[0].rank))
    found = _normal(x, axes, call.get("epsilon", 1e-5)) * call[1].first()
    return Value(found if bias is None else found + bias.first())


def _instance_norm(call: Call) -> Value:
    value = call[0]
    axes = sorted(value.axis(axis) for axis in range(2, value.rank))
    found = _normal(value.native, axes, call.get("epsilon", 1e-5))
    return value.like(found * _of_channels(value, call[1].first()) + _of_channels(value, call[2].first()))


def _group_norm(call: Call) -> Value:
    tf, value, groups = tensorflow(), call[0], int(call.get("num_groups"))
    if call.version < 21 or None in value.dims[1:]:
        raise call.refused("it has a scale for each group, or free sizes")
    channels, *space = (int(d or 0) for d in value.dims[1:])
    split = tf.reshape(value.first(), [-1, groups, channels // groups, *space])
    found = tf.reshape(
        _normal(split, list(range(2, value.rank + 1)), call.get("epsilon", 1e-5)), [-1, channels, *space]
    )
    made = Value(found)
    return Value(found * _of_channels(made, call[1].first()) + _of_channels(made, call[2].first()))


def _normal(x: Any, axes: list[int], epsilon: float) -> Any:
    tf = tensorflow()
    mean = tf.reduce_mean(x, axes, keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(x, mean), axes, keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + epsilon)


def _local_response(call: Call) -> Value:
    tf, size = tensorflow(), int(call.get("size"))
    if size % 2 == 0:
        raise call.refused("its window is even")
    found = tf.nn.local_response_normalization(
        call[0].last(), size // 2, call.get("bias", 1.0), call.get("alpha", 1e-4) / size, call.get("beta", 0.75)
    )
    return Value(last=found)


def _norm(call: Call) -> Value:
    value, power = call[0], int(call.get("p", 2))
    tf = tensorflow()
    axis = value.axis(int(call.get("axis", -1)))
    size = tf.abs(value.native) if power == 1 else tf.square(value.native)
    total = tf.reduce_sum(size, axis, keepdims=True)
    return value.like(tf.math.divide_no_nan(value.native, total if power == 1 else tf.sqrt(total)))


def _reduce(name: str, before: str = "", after: str = "") -> Rule:
    def rule(call: Call) -> Value:
        tf, value = tensorflow(), call[0]
        axes = call.numbers(1, "axes")
        if not axes and call.get("noop_with_empty_axes", 0):
            return value
        chosen = [axis % value.rank for axis in axes] if axes else list(range(value.rank))
        keep = bool(call.get("keepdims", 1))
        stays = [axis for axis in range(1, value.rank) if axis not in chosen]
        turned = value.turned and (keep or len(stays) <= 1 or 1 not in stays)
        x = value.native if turned else value.first()
        x = getattr(tf, before)(x) if before else x
        places = [value.axis(axis) for axis in chosen] if turned else chosen
        found = getattr(tf, name)(x, sorted(places), keepdims=keep)
        found = getattr(tf.math, after)(found) if after else found
        return Value(last=found) if turned and keep else Value(found)

    return rule


def _extreme(name: str) -> Rule:
    def rule(call: Call) -> Value:
        tf, axis = tensorflow(), int(call.get("axis", 0)) % call[0].rank
        if call.get("select_last_index", 0):
            raise call.refused("it selects the last of equals")
        found = getattr(tf, name)(call[0].first(), axis, output_type=tf.int64)
        return Value(tf.expand_dims(found, axis) if call.get("keepdims", 1) else found)

    return rule


def _running_sum(call: Call) -> Value:
    axis = call.numbers(1)
    if axis is None:
        raise call.refused("it has no axis")
    options = {"exclusive": bool(call.get("exclusive", 0)), "reverse": bool(call.get("reverse", 0))}
    return Value(tensorflow().cumsum(call[0].first(), axis[0], **options))


RULES: dict[str, Rule] = {
    "Gemm": _gemm, "MatMul": _product, "Einsum": _einsum, "Softmax": _softmax("softmax"),
    "LogSoftmax": _softmax("log_softmax"), "BatchNormalization": _batch_norm, "LayerNormalization": _layer_norm,
    "InstanceNormalization": _instance_norm, "GroupNormalization": _group_norm, "LRN": _local_response,
    "LpNormalization": _norm, "ReduceMean": _reduce("reduce_mean"), "ReduceSum": _reduce("reduce_sum"),
    "ReduceMax": _reduce("reduce_max"), "ReduceMin": _reduce("reduce_min"), "ReduceProd": _reduce("reduce_prod"),
    "ReduceSumSquare": _reduce("reduce_sum", "square"), "ReduceL1": _reduce("reduce_sum", "abs"),
    "ReduceL2": _reduce("reduce_sum", "square", "sqrt"), "ReduceLogSumExp": _reduce("reduce_logsumexp"),
    "ArgMax": _extreme("argmax"), "ArgMin": _extreme("argmin"), "CumSum": _running_sum,
}  # fmt: skip

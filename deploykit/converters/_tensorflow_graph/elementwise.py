"""Operators that work element by element."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

from deploykit.converters._tensorflow_graph.calls import Call, Rule, each, tensorflow, together
from deploykit.converters._tensorflow_graph.values import Value
from deploykit.core.extras import require


def _unary(path: str) -> Rule:
    def rule(call: Call) -> Value:
        return each(call, _named(path))

    return rule


def _binary(path: str) -> Rule:
    def rule(call: Call) -> Value:
        return together(call, _named(path))

    return rule


def _chain(path: str) -> Rule:
    def rule(call: Call) -> Value:
        function = _named(path)
        return together(call, lambda *tensors: reduce(function, tensors))

    return rule


def _named(path: str) -> Callable[..., Any]:
    """A function of TensorFlow."""
    found: Any = reduce(getattr, path.split("."), tensorflow())
    return found  # type: ignore[no-any-return]  # TensorFlow has no types


def _formula(function: Callable[[Any, Call, Any], Any]) -> Rule:
    """A rule of a function of the tensor, the node and TensorFlow."""

    def rule(call: Call) -> Value:
        return each(call, lambda x: function(x, call, tensorflow()))

    return rule


def _divide(call: Call) -> Value:
    tf = tensorflow()
    whole = call[0].dtype.is_integer
    return together(call, tf.truncatediv if whole else tf.divide)


def _power(call: Call) -> Value:
    tf, exponent = tensorflow(), call[1].known
    if exponent is not None and exponent.size == 1 and call[1].rank <= call[0].rank:
        simple = {2.0: tf.square, 0.5: tf.sqrt, 1.0: tf.identity}.get(float(exponent.reshape(-1)[0]))
        if simple is not None:
            return each(call, simple)
    kind = call[0].dtype
    return together(call, lambda x, y: tf.pow(x, tf.cast(y, kind)))


def _modulo(call: Call) -> Value:
    tf = tensorflow()
    return together(call, tf.truncatemod if call.get("fmod", 0) else tf.math.floormod)


def _mean(call: Call) -> Value:
    tf = tensorflow()
    return together(call, lambda *tensors: tf.add_n([t + tf.zeros_like(sum(tensors)) for t in tensors]) / len(tensors))


def _clip(call: Call) -> Value:
    tf = tensorflow()
    low, high = call.setting(1, "min"), call.setting(2, "max")
    low, high = (None if v is None else v.item() for v in (low, high))

    def clipped(x: Any) -> Any:
        if low == 0 and high == 6:
            return tf.nn.relu6(x)
        if low == 0 and (high is None or high >= x.dtype.max):
            return tf.nn.relu(x)
        if low is not None and low > x.dtype.min:
            x = tf.maximum(x, tf.constant(low, x.dtype))
        return x if high is None or high >= x.dtype.max else tf.minimum(x, tf.constant(high, x.dtype))

    return each(call, clipped)


def _parametric(call: Call) -> Value:
    tf = tensorflow()
    return together(call, lambda x, slope: tf.nn.relu(x) - slope * tf.nn.relu(-x))


def _cast(call: Call) -> Value:
    tf, helper = tensorflow(), require("onnx.helper", "")
    kind = helper.tensor_dtype_to_np_dtype(call.get("to"))
    if kind.kind not in "fiub" or call[0].dtype == tf.string:
        raise call.refused("it casts text or a type that TensorFlow lacks")
    return each(call, lambda x: tf.cast(x, tf.dtypes.as_dtype(kind)))


def _dropout(call: Call) -> Value:
    training = call.setting(2)
    if (training is not None and bool(training)) or len([name for name in call.node.output if name]) > 1:
        raise call.refused("it drops at random, or gives its mask")
    return call[0]


def _where(call: Call) -> Value:
    return together(call, tensorflow().where)


def _gelu(x: Any, call: Call, tf: Any) -> Any:
    return tf.nn.gelu(x, approximate=call.get("approximate", "none") == "tanh")


def _hard_sigmoid(x: Any, call: Call, tf: Any) -> Any:
    return tf.clip_by_value(x * call.get("alpha", 0.2) + call.get("beta", 0.5), 0.0, 1.0)


def _selu(x: Any, call: Call, tf: Any) -> Any:
    alpha, gamma = call.get("alpha", 1.6732632423543772), call.get("gamma", 1.0507009873554805)
    return gamma * (tf.nn.relu(x) + alpha * (tf.exp(tf.minimum(x, 0.0)) - 1.0))


def _elu(x: Any, call: Call, tf: Any) -> Any:
    alpha = call.get("alpha", 1.0)
    return tf.nn.elu(x) if alpha == 1.0 else tf.nn.relu(x) + alpha * (tf.exp(tf.minimum(x, 0.0)) - 1.0)


def _celu(x: Any, call: Call, tf: Any) -> Any:
    alpha = call.get("alpha", 1.0)
    return tf.nn.relu(x) + alpha * (tf.exp(tf.minimum(x, 0.0) / alpha) - 1.0)


RULES: dict[str, Rule] = {
    **{
        operator: _unary(path)
        for operator, path in {
            "Relu": "nn.relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Sqrt": "sqrt", "Exp": "exp", "Log": "math.log",
            "Erf": "math.erf", "Neg": "negative", "Abs": "abs", "Identity": "identity", "Softplus": "math.softplus",
            "Softsign": "nn.softsign", "Floor": "floor", "Ceil": "math.ceil", "Round": "round", "Sign": "sign",
            "Reciprocal": "math.reciprocal", "Sin": "sin", "Cos": "cos", "Tan": "tan", "Atan": "atan", "Not":
            "logical_not", "IsNaN": "math.is_nan",
        }.items()
    },
    **{
        operator: _binary(path)
        for operator, path in {
            "Add": "add", "Sub": "subtract", "Mul": "multiply", "Equal": "equal", "Greater": "greater", "Less": "less",
            "GreaterOrEqual": "greater_equal", "LessOrEqual": "less_equal", "And": "logical_and", "Or": "logical_or",
            "Xor": "math.logical_xor",
        }.items()
    },
    "Max": _chain("maximum"), "Min": _chain("minimum"), "Sum": _chain("add"), "Mean": _mean,
    "Div": _divide, "Pow": _power, "Mod": _modulo, "Clip": _clip, "PRelu": _parametric, "Cast": _cast,
    "Dropout": _dropout, "Where": _where, "Gelu": _formula(_gelu), "HardSigmoid": _formula(_hard_sigmoid),
    "Selu": _formula(_selu), "Elu": _formula(_elu), "Celu": _formula(_celu),
    "LeakyRelu": _formula(lambda x, call, tf: tf.nn.leaky_relu(x, call.get("alpha", 0.01))),
    "ThresholdedRelu": _formula(lambda x, call, tf: tf.where(x > call.get("alpha", 1.0), x, tf.zeros_like(x))),
    "HardSwish": _formula(lambda x, _, tf: x * tf.nn.relu6(x + 3.0) * (1.0 / 6.0)),
    "Swish": _formula(lambda x, call, tf: x * tf.sigmoid(call.get("alpha", 1.0) * x)),
    "Mish": _formula(lambda x, _, tf: x * tf.tanh(tf.math.softplus(x))),
}  # fmt: skip

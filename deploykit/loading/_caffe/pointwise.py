"""Layers that change single values, scale channels or multiply matrices, written as ONNX."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from deploykit.loading._caffe.graph import Graph, Value
from deploykit.loading._caffe.net import CaffeLayer

if TYPE_CHECKING:
    from numpy.typing import NDArray

Rule = Callable[[Graph, CaffeLayer, Value], Value]


def _plain(operator: str) -> Rule:
    return lambda graph, layer, x: graph.add(layer, operator, [x.name], x.shape)


def _number(graph: Graph, layer: CaffeLayer, suffix: str, value: float) -> str:
    import numpy as np

    return graph.constant(layer, suffix, np.array(value, np.float32))


def _affine(graph: Graph, layer: CaffeLayer, x: Value, scale: float, shift: float) -> Value:
    """``shift + scale * x``, without what changes nothing."""
    if scale != 1.0:
        x = graph.add(layer, "Mul", [x.name, _number(graph, layer, "scale", scale)], x.shape)
    if shift:
        x = graph.add(layer, "Add", [x.name, _number(graph, layer, "shift", shift)], x.shape)
    return x


def relu(graph: Graph, layer: CaffeLayer, x: Value) -> Value:
    """ReLU, leaky with a negative slope."""
    slope = layer.parameters("relu_param").number("negative_slope", 0.0)
    if slope:
        return graph.add(layer, "LeakyRelu", [x.name], x.shape, alpha=slope)
    return graph.add(layer, "Relu", [x.name], x.shape)


def prelu(graph: Graph, layer: CaffeLayer, x: Value) -> Value:
    """PReLU: a slope for each channel, or one for all."""
    shared = layer.parameters("prelu_param").flag("channel_shared")
    slopes = graph.weights(layer, 0, 1 if shared else x.shape[0])
    return graph.add(layer, "PRelu", [x.name, graph.constant(layer, "slopes", _on_channels(slopes, x))], x.shape)


def elu(graph: Graph, layer: CaffeLayer, x: Value) -> Value:
    """ELU."""
    return graph.add(layer, "Elu", [x.name], x.shape, alpha=layer.parameters("elu_param").number("alpha", 1.0))


def power(graph: Graph, layer: CaffeLayer, x: Value) -> Value:
    """``(shift + scale * x) ** power``."""
    settings = layer.parameters("power_param")
    x = _affine(graph, layer, x, settings.number("scale", 1.0), settings.number("shift", 0.0))
    exponent = settings.number("power", 1.0)
    return (
        x if exponent == 1.0 else graph.add(layer, "Pow", [x.name, _number(graph, layer, "power", exponent)], x.shape)
    )


def exponential(graph: Graph, layer: CaffeLayer, x: Value) -> Value:
    """``base ** (shift + scale * x)``; a base of -1 is e."""
    settings = layer.parameters("exp_param")
    base = settings.number("base", -1.0)
    if base != -1.0 and base <= 0:
        raise graph.refuse(layer, f"has an impossible base: {base}")
    inner = 1.0 if base == -1.0 else math.log(base)
    scale, shift = settings.number("scale", 1.0) * inner, settings.number("shift", 0.0) * inner
    return graph.add(layer, "Exp", [_affine(graph, layer, x, scale, shift).name], x.shape)


def batch_norm(graph: Graph, layer: CaffeLayer, x: Value) -> Value:
    """BatchNorm: sums of means and variances, with the number that they are to be divided by."""
    import numpy as np

    channels, settings = x.shape[0], layer.parameters("batch_norm_param")
    if "use_global_stats" in settings.fields and not settings.flag("use_global_stats"):
        raise graph.refuse(layer, "normalizes each batch by itself, so that answers depend on the batch")
    factor = float(graph.weights(layer, 2, 1)[0])
    factor = 1 / factor if factor else 0.0
    mean, variance = (graph.weights(layer, place, channels) * np.float32(factor) for place in (0, 1))
    inputs = [
        graph.constant(layer, name, values.astype(np.float32)) for name, values in
        (("scale", np.ones(channels)), ("shift", np.zeros(channels)), ("mean", mean), ("variance", variance))
    ]  # fmt: skip
    return graph.add(layer, "BatchNormalization", [x.name, *inputs], x.shape, epsilon=settings.number("eps", 1e-5))


def scale(graph: Graph, layer: CaffeLayer, x: Value) -> Value:
    """Scale with a weight for each channel, and Bias."""
    settings = layer.parameters("bias_param" if layer.type == "Bias" else "scale_param")
    if len(layer.bottoms) > 1 or settings.whole("axis", 1) != 1 or settings.whole("num_axes", 1) != 1:
        raise graph.refuse(layer, "scales by another blob or along other axes than the channels")
    operators = ["Add"] if layer.type == "Bias" else ["Mul", *(["Add"] if settings.flag("bias_term") else [])]
    for place, operator in enumerate(operators):
        values = graph.constant(layer, operator.lower(), _on_channels(graph.weights(layer, place, x.shape[0]), x))
        x = graph.add(layer, operator, [x.name, values], x.shape)
    return x


def inner_product(graph: Graph, layer: CaffeLayer, x: Value) -> Value:
    """InnerProduct: the axes from the first one on are one."""
    settings = layer.parameters("inner_product_param")
    made, count = settings.whole("num_output", 0), math.prod(x.shape)
    if settings.whole("axis", 1) != 1 or made < 1:
        raise graph.refuse(layer, "multiplies along other axes than all but the first")
    across = settings.flag("transpose")
    weights = graph.weights(layer, 0, *((count, made) if across else (made, count)))
    if len(x.shape) != 1:
        x = graph.add(layer, "Flatten", [x.name], (count,), axis=1)
    inputs = [x.name, graph.constant(layer, "weights", weights)]
    if settings.flag("bias_term", usual=True):
        inputs.append(graph.constant(layer, "bias", graph.weights(layer, 1, made)))
    return graph.add(layer, "Gemm", inputs, (made,), transB=int(not across))


def normalize(graph: Graph, layer: CaffeLayer, x: Value) -> Value:
    """Normalize of SSD: divided by the Euclidean norm over channels, or over all, and scaled."""
    import numpy as np

    settings = layer.parameters("norm_param")
    axes = list(range(1, len(x.shape) + 1)) if settings.flag("across_spatial", usual=True) else [1]
    one = (1,) * len(x.shape) if len(axes) > 1 else (1, *x.shape[1:])
    square = graph.add(layer, "Mul", [x.name, x.name], x.shape)
    total = graph.add(
        layer, "ReduceSum", [square.name, graph.constant(layer, "axes", np.array(axes, np.int64))], one, keepdims=1
    )
    total = graph.add(layer, "Add", [total.name, _number(graph, layer, "eps", settings.number("eps", 1e-10))], one)
    found = graph.add(layer, "Div", [x.name, graph.add(layer, "Sqrt", [total.name], one).name], x.shape)
    shared = settings.flag("channel_shared", usual=True)
    factors = _on_channels(graph.weights(layer, 0, 1 if shared else x.shape[0]), x)
    return graph.add(layer, "Mul", [found.name, graph.constant(layer, "factors", factors)], x.shape)


def _on_channels(values: NDArray[Any], x: Value) -> NDArray[Any]:
    return values.reshape(-1, *(1,) * (len(x.shape) - 1))


RULES: dict[str, Rule] = {
    "AbsVal": _plain("Abs"), "BNLL": _plain("Softplus"), "BatchNorm": batch_norm, "Bias": scale, "ELU": elu,
    "Exp": exponential, "InnerProduct": inner_product, "Normalize": normalize, "PReLU": prelu, "Power": power,
    "ReLU": relu, "Scale": scale, "Sigmoid": _plain("Sigmoid"), "TanH": _plain("Tanh"),
}  # fmt: skip

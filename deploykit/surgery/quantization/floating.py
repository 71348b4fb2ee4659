"""Keeping layers float in ONNX files whose other layers are quantized.

ONNX Runtime's optimizer (``WeightBiasQuantization``) rounds the weights of a Conv, ConvTranspose or Gemm to 8 bits, one
scale a tensor, where it finds the input dequantized and the output quantized after it has moved conversions about, also
when the file says float. It does so only where the input has a single scale: the same scale once for each channel,
which gives the same numbers, is left as it is, and where it is.
"""

from __future__ import annotations

import math
from typing import Any

from deploykit.core.extras import require
from deploykit.loading._onnx.parts import operator_set

#: Operators whose weights it rounds.
_ROUNDED = frozenset({"Conv", "ConvTranspose", "Gemm"})
#: It moves DequantizeLinear behind these.
_PASSED = frozenset({"MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten"})
#: The first operator set whose DequantizeLinear has an axis.
_AXIS = 13


def protect(model: Any) -> int:
    """Keep the layers float that a quantized model has in float; gives how many inputs were changed for it.

    Args:
        model: A quantized ``ModelProto``, changed in place.
    """
    numpy_helper, helper = require("onnx.numpy_helper", ""), require("onnx.helper", "")
    graph = model.graph
    if operator_set(model) < _AXIS:
        return 0
    makers = {output: node for node in graph.node for output in node.output}
    weights = {i.name: i for i in graph.initializer}
    added: dict[str, Any] = {}
    for layer in graph.node:
        if layer.op_type not in _ROUNDED or layer.input[1] not in weights:
            continue
        node = layer
        while (maker := makers.get(node.input[0])) is not None and maker.op_type in _PASSED:
            node = maker
        if node.name in added or maker is None or maker.op_type != "DequantizeLinear":
            continue
        count = _weighed(layer, weights[layer.input[1]].dims) if node is layer else _shaped(graph, makers, maker)
        known = all(i in weights for i in maker.input[1:]) and len(maker.input) == 3
        if not count or not known or math.prod(weights[maker.input[1]].dims) != 1:
            continue
        name = f"{node.name}_input"
        inputs = [maker.input[0]]
        for i, end in zip((1, 2), ("scale", "zero_point"), strict=True):
            value = numpy_helper.to_array(weights[maker.input[i]])
            graph.initializer.append(numpy_helper.from_array(value.repeat(count).reshape(count), f"{name}_{end}"))
            inputs.append(f"{name}_{end}")
        added[node.name] = helper.make_node(
            "DequantizeLinear", inputs, [f"{name}_dequantized"], f"{name}_DequantizeLinear", axis=1
        )
        node.input[0] = f"{name}_dequantized"
    if added:
        nodes = [n for node in graph.node for n in (*([added[node.name]] if node.name in added else ()), node)]
        graph.ClearField("node")
        graph.node.extend(nodes)
    return len(added)


def release(model: Any) -> bool:
    """Take back what `protect` has changed, so that layers in float can be quantized by another step.

    Args:
        model: A ``ModelProto``, changed in place.

    Returns:
        Whether anything was changed.
    """
    numpy_helper = require("onnx.numpy_helper", "")
    weights = {i.name: i for i in model.graph.initializer}
    changed = False
    for node in model.graph.node:
        name = node.output[0].removesuffix("_dequantized")
        if node.op_type != "DequantizeLinear" or list(node.input[1:]) != [f"{name}_scale", f"{name}_zero_point"]:
            continue
        values = [numpy_helper.to_array(weights[i]) for i in node.input[1:]]
        if all(v.ndim == 1 and (v == v[0]).all() for v in values):
            for i, value in zip(node.input[1:], values, strict=True):
                weights[i].CopyFrom(numpy_helper.from_array(value[0], i))
            del node.attribute[:]
            changed = True
    return changed


def _weighed(node: Any, dims: Any) -> int:
    """How many channels the input of a layer has, by its weights."""
    given = {a.name: int(a.i) for a in node.attribute if a.name in {"group", "transB"}}
    if node.op_type == "Gemm":
        return int(dims[1] if given.get("transB") else dims[0])
    return int(dims[0]) if node.op_type == "ConvTranspose" else int(dims[1]) * given.get("group", 1)


def _shaped(graph: Any, makers: dict[str, Any], dequantize: Any) -> int:
    """How many channels the tensor has that a DequantizeLinear gives back; 0 when that is not known."""
    quantize = makers.get(dequantize.input[0])
    if quantize is None or quantize.op_type != "QuantizeLinear":
        return 0
    known = {v.name: v.type.tensor_type.shape.dim for v in (*graph.value_info, *graph.input)}
    dims = known.get(quantize.input[0], ())
    return int(dims[1].dim_value) if len(dims) > 1 else 0

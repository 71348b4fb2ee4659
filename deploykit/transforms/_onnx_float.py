"""Keeping layers float in ONNX files whose other layers are quantized.

ONNX Runtime's optimizer (``WeightBiasQuantization``) rounds the weights of a Conv, ConvTranspose or Gemm to 8 bits, one
scale a tensor, whenever its input is dequantized and its output quantized, also when the file says float. It does so
only where the input has a single scale: the same scale once for each channel, which gives the same numbers, is left as
it is.
"""

from __future__ import annotations

from typing import Any

from deploykit.core.extras import require

#: Operators it rounds; the channels of their input are its second dimension.
_ROUNDED = frozenset({"Conv", "ConvTranspose", "Gemm"})
#: What may stand between such an operator and QuantizeLinear.
_BETWEEN = frozenset({"Relu", "Clip"})
#: The first operator set whose DequantizeLinear has an axis.
_AXIS = 13


def protect(model: Any) -> int:
    """Keep the layers float that a quantized model has in float; gives how many would have been rounded.

    Args:
        model: A quantized ``ModelProto``, changed in place.
    """
    numpy_helper, helper = require("onnx.numpy_helper", ""), require("onnx.helper", "")
    graph = model.graph
    if max((o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}), default=0) < _AXIS:
        return 0
    takers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            takers.setdefault(name, []).append(node)
    makers = {output: node for node in graph.node for output in node.output}
    weights = {i.name: i for i in graph.initializer}
    added: dict[str, Any] = {}
    found = 0
    for node in graph.node:
        maker = makers.get(node.input[0]) if node.input else None
        if node.op_type not in _ROUNDED or node.input[1] not in weights or not _ends_quantized(node, takers):
            continue
        if maker is None or maker.op_type != "DequantizeLinear" or len(weights[maker.input[1]].dims) > 0:
            continue
        count = _channels(node, weights[node.input[1]].dims)
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
        found += 1
    if found:
        nodes = [n for node in graph.node for n in (*([added[node.name]] if node.name in added else ()), node)]
        graph.ClearField("node")
        graph.node.extend(nodes)
    return found


def _channels(node: Any, dims: Any) -> int:
    """How many channels the input of an operator has."""
    given = {a.name: int(a.i) for a in node.attribute if a.name in {"group", "transB"}}
    if node.op_type == "Gemm":
        return int(dims[1] if given.get("transB") else dims[0])
    return int(dims[0]) if node.op_type == "ConvTranspose" else int(dims[1]) * given.get("group", 1)


def _ends_quantized(node: Any, takers: dict[str, list[Any]]) -> bool:
    """Whether the output goes to nothing but QuantizeLinear, through activations or not."""
    while True:
        behind = takers.get(node.output[0], [])
        if len(behind) != 1:
            return False
        if behind[0].op_type == "QuantizeLinear":
            return True
        if behind[0].op_type not in _BETWEEN:
            return False
        node = behind[0]

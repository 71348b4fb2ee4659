"""The layers of an ONNX graph that are products with weights, as least squares sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploykit.loading._onnx.parts import STANDARD, attributes
from deploykit.surgery.channels.onnx_axes import Traced
from deploykit.surgery.reconstruction.linear import Linear


def layers(traced: Traced) -> dict[int, Linear]:
    """The linear layers of a graph whose tensors have labels, by their places."""
    graph = traced.model.graph
    found = {number: linear(node, traced.constants) for number, node in enumerate(graph.node)}
    return {
        number: layer
        for number, layer in found.items()
        if layer is not None and layer.node.input[0] in traced.axes and layer.node.output[0] in traced.axes
    }


def linear(node: Any, constants: Mapping[str, Any]) -> Linear | None:
    """A node as a linear layer; None when it is another one or its weights are computed."""
    if len(node.input) < 2 or node.input[1] not in constants or node.domain not in STANDARD:
        return None
    weights, given = constants[node.input[1]], attributes(node)
    if weights.dtype.name != "float32":
        return None
    if node.op_type == "Conv":
        return Linear(node, weights, int(given.get("group", 1)), 1, window=given)
    plain = not given.get("transA", 0) and given.get("alpha", 1.0) == 1.0 and given.get("beta", 1.0) == 1.0
    if (node.op_type == "MatMul" or (node.op_type == "Gemm" and plain)) and weights.ndim == 2:
        turned = node.op_type == "Gemm" and bool(given.get("transB", 0))
        return Linear(node, weights, 1, -1, is_product=True, is_transposed=turned)
    return None

"""A PMML network run by NumPy in double precision, as engines of PMML do, and written as an ONNX graph in float32."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.core.model import TensorSpec
from deploykit.loading._pmml.network import Dense, Network
from deploykit.runtimes._session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OPSET, _IR = 17, 9


def specs(network: Network) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """One input with all fields, one output with all values."""
    last = network.layers[-1]
    operator = "softmax" if last.normalization == "softmax" else last.activation
    shape = (None, len(network.taken))
    return (
        (TensorSpec("fields", (None, len(network.fields)), "float32"),),
        (TensorSpec(network.output, shape, "float32", operator="" if operator == "identity" else operator),),
    )


class NetworkSession(Session):
    """An opened network."""

    def __init__(self, network: Network) -> None:
        self.inputs, self.outputs = specs(network)
        self._network = network

    def _run(self, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        import numpy as np

        network = self._network
        places, scales, shifts = (np.array(part) for part in zip(*network.chosen, strict=True))
        values = [np.asarray(arrays[0], np.float64)[:, places] * scales + shifts]
        for layer in network.layers:
            given = np.concatenate([values[source] for source in layer.sources], axis=1)
            values.append(_normalized(layer, _activated(layer, given @ layer.weights + layer.bias)))
        places, scales, shifts = (np.array(part) for part in zip(*network.taken, strict=True))
        return [values[-1][:, places] * scales + shifts]


def _activated(layer: Dense, z: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    functions: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
        "identity": lambda z: z, "logistic": lambda z: 1 / (1 + np.exp(-z)), "tanh": np.tanh,
        "rectifier": lambda z: np.maximum(z, 0), "exponential": np.exp, "reciprocal": lambda z: 1 / z,
        "square": np.square, "Gauss": lambda z: np.exp(-np.square(z)), "sine": np.sin, "cosine": np.cos,
        "Elliott": lambda z: z / (1 + np.abs(z)), "arctan": lambda z: 2 * np.arctan(z) / math.pi,
        "threshold": lambda z: (z > layer.threshold).astype(np.float64),
    }  # fmt: skip
    with np.errstate(over="ignore", divide="ignore"):
        return functions[layer.activation](z)


def _normalized(layer: Dense, z: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    if layer.normalization == "softmax":
        z = np.exp(z - z.max(axis=1, keepdims=True))
    return z if layer.normalization == "none" else z / z.sum(axis=1, keepdims=True)


def onnx_model(network: Network) -> Any:
    """The network as an ONNX model."""
    import numpy as np

    onnx = require("onnx", "")
    helper = onnx.helper
    nodes: list[Any] = []
    constants: list[Any] = []
    (given,), (made,) = specs(network)

    def constant(values: Any, kind: str = "float32") -> str:
        name = f"constant_{len(constants)}"
        constants.append(onnx.numpy_helper.from_array(np.asarray(values).astype(kind), name))
        return name

    def add(operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"{operator}_{len(nodes)}"
        nodes.append(helper.make_node(operator, list(inputs), [f"{name}_out"], name, **attributes))
        return f"{name}_out"

    def affine(x: str, width: int, parts: Sequence[tuple[int, float, float]]) -> str:
        places, scales, shifts = (list(part) for part in zip(*parts, strict=True))
        x = x if places == list(range(width)) else add("Gather", x, constant(places, "int64"), axis=1)
        x = x if all(scale == 1 for scale in scales) else add("Mul", x, constant(scales))
        return x if not any(shifts) else add("Add", x, constant(shifts))

    values = [affine("input", len(network.fields), network.chosen)]
    for layer in network.layers:
        sources = [values[source] for source in layer.sources]
        x = sources[0] if len(sources) == 1 else add("Concat", *sources, axis=1)
        x = add("Gemm", x, constant(layer.weights), constant(layer.bias))
        values.append(_function(layer, x, add, constant))
    x = affine(values[-1], len(network.layers[-1].bias), network.taken)
    nodes.append(helper.make_node("Identity", [x], ["output"], "output_node"))
    names = {"input": given.name, "output": made.name if made.name != given.name else f"{made.name}_output"}
    for node in nodes:
        for ends in (node.input, node.output):
            ends[:] = [names.get(end, end) for end in ends]
    graph = helper.make_graph(
        nodes, "network",
        [helper.make_tensor_value_info(names["input"], onnx.TensorProto.FLOAT, ["batch", len(network.fields)])],
        [helper.make_tensor_value_info(names["output"], onnx.TensorProto.FLOAT, ["batch", len(network.taken)])],
        constants,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)


def _function(layer: Dense, x: str, add: Callable[..., str], constant: Callable[..., str]) -> str:
    plain = {
        "logistic": "Sigmoid", "tanh": "Tanh", "rectifier": "Relu", "exponential": "Exp", "reciprocal": "Reciprocal",
        "sine": "Sin", "cosine": "Cos",
    }  # fmt: skip
    kind = layer.activation
    if kind in plain:
        x = add(plain[kind], x)
    elif kind == "square":
        x = add("Mul", x, x)
    elif kind == "Gauss":
        x = add("Exp", add("Neg", add("Mul", x, x)))
    elif kind == "Elliott":
        x = add("Div", x, add("Add", add("Abs", x), constant(1.0)))
    elif kind == "arctan":
        x = add("Mul", add("Atan", x), constant(2 / math.pi))
    elif kind == "threshold":
        x = add("Cast", add("Greater", x, constant(layer.threshold)), to=1)
    if layer.normalization == "softmax":
        return add("Softmax", x, axis=1)
    if layer.normalization == "simplemax":
        return add("Div", x, add("ReduceSum", x, constant([1], "int64"), keepdims=1))
    return x

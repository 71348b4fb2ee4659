"""Which tensors of an ONNX file are trained, and how they come back: the graph does not change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Operator → inputs that are trained. Of a batch normalization these are scale and shift: its mean and variance stay.
_PLACES: Mapping[str, Iterable[int]] = {
    "Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (0, 1, 2), "MatMul": (0, 1), "Einsum": (0, 1, 2),
    "BatchNormalization": (1, 2), "InstanceNormalization": (1, 2), "LayerNormalization": (1, 2),
    "GroupNormalization": (1, 2), "PRelu": (1,), "Gather": (0,),
}  # fmt: skip
#: Operators that are trained where they read a vector: biases, and normalizations that exporters have spelled out.
_VECTORS = frozenset({"Add", "Mul"})
#: Operators that a weight may pass before it is used.
_PASSING = frozenset({"Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze"})


def stored(model: Any) -> dict[str, Any]:
    """The ``TensorProto`` of every constant of the main graph, by the name under which nodes read it."""
    found = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type == "Constant" and value is not None:
            found[node.output[0]] = value
    return found


def trainable(model: Any) -> dict[str, NDArray[Any]]:
    """The constants that are trained, by name, in the order in which they are read; float32 only."""
    onnx = require("onnx", "")
    constants = stored(model)
    makers = {node.output[0]: node for node in model.graph.node if node.op_type in _PASSING}
    found: dict[str, NDArray[Any]] = {}
    for node in model.graph.node:
        places = range(len(node.input)) if node.op_type in _VECTORS else _PLACES.get(node.op_type, ())
        for name in (node.input[place] for place in places if place < len(node.input)):
            while name in makers:
                name = makers[name].input[0]
            tensor = constants.get(name)
            if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT or name in found:
                continue
            if node.op_type in _VECTORS and sum(size > 1 for size in tensor.dims) != 1:
                continue
            found[name] = onnx.numpy_helper.to_array(tensor)
    return found


def written(model: Any, weights: Mapping[str, NDArray[Any]]) -> Any:
    """A copy of the model with other numbers in some of its constants."""
    onnx = require("onnx", "")
    made = onnx.ModelProto()
    made.CopyFrom(model)
    tensors = stored(made)
    for name, array in weights.items():
        tensors[name].CopyFrom(onnx.numpy_helper.from_array(array, tensors[name].name))
    return made

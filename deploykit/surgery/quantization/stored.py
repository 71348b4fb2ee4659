"""Weights that a file stores in fewer bits than those in which they are computed with.

DequantizeLinear on a constant says so in ONNX's own words, but ONNX Runtime leaves it alone when it folds constants and
unpacks the weights in each run: three times the time of the float32 model on EfficientNet-Lite0 (version 1.31). A Cast
and a Mul compute the same numbers, and are folded when the file is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.runtimes.openvino import COMPUTE
from deploykit.surgery.quantization import graphs

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Rounds to whole numbers from -127 to 127: weights divided by their scale, and the scale → whole numbers.
Rounding = Callable[["NDArray[Any]", "NDArray[Any]"], "NDArray[Any]"]
#: The number of float32 among the types of a file.
_FLOAT = 1
#: What is put behind the name of a weight for its integers, their scales, and the same numbers in float32.
_WHOLE, _SCALE, _WIDE, _REAL = "_int8", "_int8_scale", "_int8_wide", "_int8_real"


def per_channel(values: NDArray[Any], axis: int, rounding: Rounding | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Weights as integers from -127 to 127, with the largest of each channel at one end.

    Args:
        values: float32, of any shape.
        axis: The axis of the channels.
        rounding: What rounds; to the nearest values by default.

    Returns:
        The integers, int8, and a scale for each channel, float32; 1 where all weights are zero.
    """
    import numpy as np

    others = tuple(i for i in range(values.ndim) if i != axis)
    largest = np.abs(values).max(others, keepdims=True)
    scale = np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)
    places = values / scale
    whole = (np.clip(np.round(places), -127, 127) if rounding is None else rounding(places, scale)).astype(np.int8)
    return whole, scale.reshape(-1)


def pack(graph: Any, node: Any, axis: int, rounding: Rounding | None = None) -> Any:
    """Let a node read its weights as int8, with a scale for each channel; gives the node that must come before it.

    Args:
        graph: The graph; it gets the integers and the scales. The weights stay in it, since others may read them.
        node: The node, changed in place; its second input is a constant.
        axis: The axis of the channels.
        rounding: What rounds; to the nearest values by default.
    """
    numpy_helper, helper = require("onnx.numpy_helper", ""), require("onnx.helper", "")
    weight = next(i for i in graph.initializer if i.name == node.input[1])
    whole, scale = per_channel(numpy_helper.to_array(weight), axis, rounding)
    base = f"{node.name}/{weight.name}"
    for values, end in ((whole, _WHOLE), (scale, _SCALE)):
        graph.initializer.append(numpy_helper.from_array(values, base + end))
    node.input[1] = base + _REAL
    inputs = [base + _WHOLE, base + _SCALE]
    return helper.make_node("DequantizeLinear", inputs, [node.input[1]], f"{base}_DequantizeLinear", axis=axis)


def fold(model: Any) -> None:
    """Write Cast and Mul for each weight that `pack` has packed and that a float operator reads.

    Args:
        model: A ``ModelProto``, changed in place; it computes what it did.
    """
    helper, numpy_helper = require("onnx.helper", ""), require("onnx.numpy_helper", "")
    graph = model.graph
    constants = {i.name: i for i in graph.initializer}
    reading = zip(graph.node, graphs.integer_nodes(graph), strict=True)
    kept = {name for node, integer in reading if integer for name in node.input}
    nodes = []
    for node in graph.node:
        name = node.output[0] if node.op_type == "DequantizeLinear" else ""
        if not name.endswith(_REAL) or name in kept:
            nodes.append(node)
            continue
        weight, scale = (constants[part] for part in node.input)
        shape = [1] * len(weight.dims)
        shape[next((int(a.i) for a in node.attribute if a.name == "axis"), 1)] = -1
        scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale).reshape(shape), scale.name))
        wide = name.removesuffix(_REAL) + _WIDE
        nodes.append(helper.make_node("Cast", [weight.name], [wide], f"{wide}_Cast", to=_FLOAT))
        nodes.append(helper.make_node("Mul", [wide, scale.name], [name], f"{name}_Mul"))
    graph.ClearField("node")
    graph.node.extend(nodes)


def folded(graph: Any) -> bool:
    """Whether `fold` has changed a graph."""
    return any(node.op_type == "Mul" and node.output[0].endswith(_REAL) for node in graph.node)


def unfold(model: Any) -> None:
    """Take back what `fold` has changed, so that weights stay packed where constants are folded.

    Args:
        model: A ``ModelProto``, changed in place; it computes what it did.
    """
    helper, numpy_helper = require("onnx.helper", ""), require("onnx.numpy_helper", "")
    graph = model.graph
    constants = {i.name: i for i in graph.initializer}
    nodes, casts = [], {}
    for node in graph.node:
        name = node.output[0]
        if node.op_type == "Cast" and name.endswith(_WIDE):
            casts[name] = node.input[0]
        elif node.op_type == "Mul" and name.endswith(_REAL) and node.input[0] in casts:
            scale = constants[node.input[1]]
            axis = max(range(len(scale.dims)), key=scale.dims.__getitem__)
            flat = numpy_helper.to_array(scale).reshape(-1)  # a single one is that of the whole tensor
            scale.CopyFrom(numpy_helper.from_array(flat if flat.size > 1 else flat[0], scale.name))
            inputs = [casts[node.input[0]], scale.name]
            nodes.append(helper.make_node("DequantizeLinear", inputs, [name], f"{name}_DequantizeLinear", axis=axis))
        else:
            nodes.append(node)
    graph.ClearField("node")
    graph.node.extend(nodes)


def narrow(model: Any, kind: str) -> tuple[int, list[str]]:
    """Store the weights of a model in 16 bits, with a Cast to float32 that runtimes fold when they load it.

    Args:
        model: A ``ModelProto``, changed in place.
        kind: ``"float16"`` or ``"bfloat16"``.

    Returns:
        How many weights were changed, and the names of those that stay since they hold numbers beyond its range.
    """
    onnx, helper, np = require("onnx", ""), require("onnx.helper", ""), require("numpy", "")
    numpy_helper = require("onnx.numpy_helper", "")
    graph = model.graph
    number = getattr(onnx.TensorProto, kind.upper())
    fixed = {v.name for v in (*graph.input, *graph.output)}
    casts, beyond = [], []
    for tensor in graph.initializer:
        if tensor.data_type != _FLOAT or len(tensor.dims) < 2 or tensor.name in fixed:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            narrow = values.astype(helper.tensor_dtype_to_np_dtype(number))
        if not (np.isfinite(narrow.astype(np.float32)) | ~np.isfinite(values)).all():
            beyond.append(tensor.name)
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(narrow, f"{name}_{kind}"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], f"{name}_Cast", to=_FLOAT))
    nodes = [*casts, *graph.node]
    graph.ClearField("node")
    graph.node.extend(nodes)
    return len(casts), beyond


def compute_in(model: Any, kind: str) -> None:
    """Let runtimes that can compute in a type do so: `runtimes.openvino` looks for it.

    Args:
        model: A ``ModelProto``, changed in place.
        kind: The type.
    """
    known = {entry.key: entry.value for entry in model.metadata_props}
    require("onnx.helper", "").set_model_props(model, {**known, COMPUTE: kind})

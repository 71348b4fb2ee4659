"""Brings an ONNX graph into the form that ONNX Runtime's quantizers read correctly, without changing what it computes.

They scale a Gemm's bias as if alpha and beta were 1, treat any bias as one value per column, and transpose a weight
that two layers share twice. Old operator sets lack the axis of DequantizeLinear, which scales per channel need.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from deploykit.core.extras import require
from deploykit.loading._onnx.parts import STANDARD, operator_set
from deploykit.surgery.quantization.smooth import DIVIDES

#: The first operator set whose DequantizeLinear has an axis.
OPERATORS = 13
#: Operators that tell large numbers from larger ones, the widest range of what they read that 8 bits resolve, and
#: operators that pass it on to them.
_SOFT = frozenset({"Softmax", "LogSoftmax"})
_RESOLVED = 1000.0
_MOVING = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity"})


def raised(model: Any) -> tuple[Any, str]:
    """The model with operators of a set that can be quantized in every way, and a note on what was done.

    A model that cannot be raised stays as it is: then the quantizers do what they can.
    """
    found = operator_set(model)
    if not found or found >= OPERATORS:
        return model, ""
    converter, checker = require("onnx.version_converter", ""), require("onnx.checker", "")
    try:
        new = converter.convert_version(model, OPERATORS)
        checker.check_model(new)
    except MemoryError:
        raise
    except Exception as error:  # it lacks adapters for some operators, and says so in many ways
        text = " ".join(str(error).split())
        return model, f"operator set {found} could not be raised to {OPERATORS}: {text[:200]}"
    return new, f"operator set {found} raised to {OPERATORS}"


def normalize(model: Any) -> bool:
    """Fold alpha and beta of each Gemm into its weights and bias, which become its own and one value per column.

    Returns:
        Whether anything was changed.
    """
    graph = model.graph
    constants = _constants(graph)
    users: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            users[name] = users.get(name, 0) + 1
    nodes: list[Any] = []
    changed = False
    for number, node in enumerate(graph.node):
        if node.op_type == "Gemm" and node.domain in STANDARD:
            before = node.SerializeToString()
            nodes += _plain(graph, node, constants, users, number)
            changed |= node.SerializeToString() != before
        nodes.append(node)
    if len(nodes) > len(graph.node):
        graph.ClearField("node")
        graph.node.extend(nodes)
    return changed


def _plain(graph: Any, node: Any, constants: dict[str, Any], users: dict[str, int], number: int) -> Iterator[Any]:
    """Make a Gemm one without alpha and beta; gives the nodes that must come before it."""
    import numpy as np

    given = {a.name: a for a in node.attribute}
    alpha = given["alpha"].f if "alpha" in given else 1.0
    beta = given["beta"].f if "beta" in given else 1.0
    base = f"{node.name or node.output[0]}_{number}"
    weight = node.input[1]
    if weight in constants and (alpha != 1.0 or users[weight] > 1):
        values = constants[weight]
        node.input[1] = _add(graph, f"{base}_weight", (values * np.float32(alpha)).astype(values.dtype))
    elif alpha != 1.0:
        yield _scale(graph, node, 0, alpha, f"{base}_alpha")
    if len(node.input) > 2 and node.input[2]:
        bias = node.input[2]
        if beta == 0.0:
            del node.input[2]
        elif bias in constants:
            values = constants[bias]
            wide = (values * np.float32(beta)).astype(values.dtype)
            columns = _columns(node, constants)
            if columns and wide.size in (1, columns):
                wide = np.broadcast_to(wide.reshape(-1), (columns,)).copy()
            if beta != 1.0 or wide.shape != values.shape:
                node.input[2] = _add(graph, f"{base}_bias", wide)
        elif beta != 1.0:
            yield _scale(graph, node, 2, beta, f"{base}_beta")
    for name, value in (("alpha", alpha), ("beta", beta)):
        if value != 1.0:
            node.attribute.remove(given[name])


def _columns(node: Any, constants: dict[str, Any]) -> int:
    """How many columns a Gemm gives, 0 when that is not known."""
    weight = constants.get(node.input[1])
    if weight is None or weight.ndim != 2:
        return 0
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return int(weight.shape[0 if transposed else 1])


def _scale(graph: Any, node: Any, place: int, factor: float, name: str) -> Any:
    """A node that multiplies an input of another one."""
    import numpy as np

    helper = require("onnx.helper", "")
    kind = _dtype(graph, node.input[place])
    made = helper.make_node("Mul", [node.input[place], _add(graph, name, np.array(factor, kind))], [f"{name}_product"])
    node.input[place] = made.output[0]
    return made


def _dtype(graph: Any, name: str) -> Any:
    helper, np = require("onnx.helper", ""), require("numpy", "")
    for value in (*graph.value_info, *graph.input):
        if value.name == name and value.type.tensor_type.elem_type:
            return helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    return np.float32


def _constants(graph: Any) -> dict[str, Any]:
    """Values of initializers and of Constant nodes that Gemms read."""
    numpy_helper = require("onnx.numpy_helper", "")
    wanted = {name for node in graph.node if node.op_type == "Gemm" for name in node.input[1:]}
    found = {i.name: numpy_helper.to_array(i) for i in graph.initializer if i.name in wanted}
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] in wanted:
            value = next((a.t for a in node.attribute if a.name == "value"), None)
            found |= {} if value is None else {node.output[0]: numpy_helper.to_array(value)}
    return found


def _add(graph: Any, name: str, values: Any) -> str:
    graph.initializer.append(require("onnx.numpy_helper", "").from_array(values, name))
    return name


def spared(graph: Any, *, per_channel: bool, qoperator: bool) -> dict[str, str]:
    """Nodes that ONNX Runtime would quantize wrongly with some settings, with the reason; they stay float.

    Args:
        graph: A graph whose nodes have names of their own.
        per_channel: One scale for each output channel.
        qoperator: Integer operators are written, not pairs of conversions.
    """
    sizes = {i.name: tuple(i.dims) for i in graph.initializer}
    infinite = _infinite(graph)
    users = Counter(name for node in graph.node for name in node.input)
    users.update(v.name for v in graph.output)
    found = {}
    for node in graph.node:
        if not infinite.isdisjoint(node.input):
            found[node.name] = "it reads infinite values, which no scale can represent"
        elif node.name.endswith(DIVIDES):
            found[node.name] = "it takes outliers out of what a matrix product reads"
        elif node.op_type in ("Relu", "Clip") and users[node.input[0]] > 1 and qoperator:
            found[node.name] = "others read what it clips"  # the range of what it reads is then not what it gives
        elif node.op_type == "MatMul" and node.input[0] in sizes and qoperator:
            found[node.name] = "its weights are the left factor"
        elif node.op_type == "MatMul" and per_channel and len(sizes.get(node.input[1], (0, 0))) != 2:
            found[node.name] = "its weights are not a matrix and so have no channels"
        elif node.op_type == "ConvTranspose" and per_channel and _groups(node) > 1:
            found[node.name] = "its groups share channels"
    return found


def masked(graph: Any, ranges: Mapping[str, tuple[float, float]]) -> dict[str, str]:
    """Nodes around a Softmax whose input has masks in it, with the reason: 8 bits hold the mask and nothing beside it.

    Args:
        graph: A graph whose nodes have names of their own.
        ranges: Name of a tensor → its lowest and highest value over the calibration examples.
    """
    makers = {output: node for node in graph.node for output in node.output}
    found = {}
    for node in graph.node:
        low, high = ranges.get(node.input[0], (0.0, 0.0)) if node.op_type in _SOFT else (0.0, 0.0)
        if high - low <= _RESOLVED:
            continue
        why = f"it goes from {low:.3g} to {high:.3g}, as masks do: 8 bits hold nothing between"
        found[node.name] = why
        name = node.input[0]
        while (maker := makers.get(name)) is not None:
            found[maker.name] = why
            if maker.op_type not in _MOVING:
                break
            name = maker.input[0]
    return found


def _infinite(graph: Any) -> set[str]:
    """Names of constants with infinite values: masks, mostly."""
    numpy_helper, np = require("onnx.numpy_helper", ""), require("numpy", "")
    constants = [(i.name, i) for i in graph.initializer]
    constants += [
        (n.output[0], a.t) for n in graph.node if n.op_type == "Constant" for a in n.attribute if a.name == "value"
    ]
    values = ((name, numpy_helper.to_array(tensor)) for name, tensor in constants)
    return {name for name, value in values if value.dtype.kind == "f" and bool(np.isinf(value).any())}


def shield(graph: Any) -> None:
    """Put a node that passes values on before each Where, to which the writer of integer operators hands integers."""
    helper = require("onnx.helper", "")
    nodes = []
    for node in graph.node:
        if node.op_type == "Where":
            for place in (1, 2):
                name = f"{node.name}_branch_{place}"
                nodes.append(helper.make_node("Identity", [node.input[place]], [name], name))
                node.input[place] = name
        nodes.append(node)
    graph.ClearField("node")
    graph.node.extend(nodes)


def _groups(node: Any) -> int:
    return next((int(a.i) for a in node.attribute if a.name == "group"), 1)

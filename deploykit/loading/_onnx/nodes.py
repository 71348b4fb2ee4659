"""The nodes of an ONNX graph, and what they compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.core.layers.kinds import LayerKind
from deploykit.core.model import Layer
from deploykit.loading._nodes import GraphNode, NodeWeight, Values, digest_of, real
from deploykit.loading._onnx.parts import attributes

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Operators behind which a constant is still that constant.
_HAND_ON = frozenset({"Cast", "Identity", "DequantizeLinear", "QuantizeLinear"})
#: Constants of so few whole numbers are settings: shapes, axes, pads.
_SETTING = 16
_QUANTIZED = ("QLinear", "QGemm", "DequantizeLinear")
_NAMES = {"float": "float32", "double": "float64"}


def nodes(model: Any, folder: Path, kind_of: Callable[[Layer], LayerKind]) -> list[GraphNode]:
    """The nodes of the main graph; constants are what nodes hold, not nodes.

    Args:
        model: The ``ModelProto``.
        folder: Where its external data are, which must have been checked.
        kind_of: What an operator does.
    """
    numpy_helper = require("onnx.numpy_helper", "")
    data_type = require("onnx", "").TensorProto.DataType
    tensors = {t.name: t for t in model.graph.initializer}
    versions = {o.domain: int(o.version) for o in model.opset_import}
    held: dict[str, NodeWeight] = {}
    settings: dict[str, str] = {}

    def hold(name: str, tensor: Any) -> None:
        values = numpy_helper.to_array(tensor, str(folder))
        stored = data_type.Name(tensor.data_type).lower()
        stored = _NAMES.get(stored, stored)
        if values.size <= _SETTING and values.dtype.kind in "iub" and stored not in ("int8", "uint8"):
            settings[name] = _text(values.tolist())
        held[name] = NodeWeight(tensor.name or name, tuple(int(d) for d in tensor.dims), stored, digest_of(values))

    for name, tensor in tensors.items():
        hold(name, tensor)
    found = []
    for number, node in enumerate(model.graph.node):
        known = attributes(node)
        if node.op_type == "Constant" and "value" in known:
            hold(node.output[0], known["value"])
            continue
        first = node.input[0] if node.input else ""
        made = [name for name in node.input if name and name not in tensors and name not in settings]
        found.append(
            GraphNode(
                node.name or f"{node.op_type}_{number}",
                f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type,
                kind_of(Layer("", node.op_type)),
                tuple(made),
                tuple(filter(None, node.output)),
                tuple(held[n] for n in node.input if n in held and n not in settings),
                _defaults(node, versions.get(node.domain, 0))
                | {name: _text(value) for name, value in known.items()}
                | {f"input {place}": settings[n] for place, n in enumerate(node.input) if n in settings},
            )
        )
        if first in held and node.op_type in _HAND_ON and not (set(made) - held.keys()):
            held[node.output[0]] = held[first]
    return found


def _defaults(node: Any, version: int) -> dict[str, str]:
    """Settings that have a value when they are not written down."""
    onnx, helper = require("onnx", ""), require("onnx.helper", "")
    try:
        schema = onnx.defs.get_schema(node.op_type, version, "" if node.domain == "ai.onnx" else node.domain)
    except onnx.defs.SchemaError:
        return {}
    known = {name: attribute.default_value for name, attribute in schema.attributes.items()}
    return {name: _text(helper.get_attribute_value(value)) for name, value in known.items() if value.type}


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    if hasattr(value, "DESCRIPTOR"):
        return f"a {type(value).__name__.removesuffix('Proto').lower()}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def values(model: Any, feeds: Mapping[str, NDArray[Any]]) -> Values:
    """All tensors that the main graph computes, as real numbers, without optimization.

    Args:
        model: The ``ModelProto`` with all its data; it is changed.
        feeds: Inputs by name.
    """
    helper, ort = require("onnx.helper", ""), require("onnxruntime", "")
    given = {value.name for value in model.graph.output}
    made = [n for node in model.graph.node if node.op_type != "Constant" for n in node.output if n]
    model.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in made if n not in given)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = dict(zip((o.name for o in session.get_outputs()), session.run(None, dict(feeds)), strict=True))
    numbers = {k: v for k, v in found.items() if hasattr(v, "dtype") and v.dtype.kind in "fiub"}
    scales = _scales(model)
    return {k: real(v, *scales[k]) if k in scales and v.dtype.kind in "iu" else v for k, v in numbers.items()}


def _scales(model: Any) -> dict[str, tuple[Any, Any]]:
    """Scale and zero point of quantized tensors: their readers have them as the inputs behind."""
    numpy_helper = require("onnx.numpy_helper", "")
    tensors = {t.name: t for t in model.graph.initializer}
    tensors |= {
        n.output[0]: a.t for n in model.graph.node if n.op_type == "Constant" for a in n.attribute if a.name == "value"
    }
    found: dict[str, tuple[Any, Any]] = {}
    for node in reversed(model.graph.node):
        if node.op_type.startswith(_QUANTIZED):
            for place, name in enumerate(node.input[:-1]):
                pair = [tensors.get(n) for n in (*node.input[place + 1 : place + 3], "")[:2]]
                if name not in tensors and pair[0] is not None:
                    found.setdefault(name, tuple(None if t is None else numpy_helper.to_array(t) for t in pair))  # type: ignore[arg-type]  # two of them
        elif node.output and node.output[0] in found and node.input:  # moves whole numbers, such as MaxPool
            found.setdefault(node.input[0], found[node.output[0]])
    return found

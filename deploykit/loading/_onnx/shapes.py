"""Sizes of the tensors of an ONNX graph, as far as they can be inferred."""

from __future__ import annotations

import traceback
from typing import Any

from deploykit.core.extras import require

#: A shape: None for an unknown size.
Dims = list[int | None]


def shapes(model: Any) -> dict[str, Dims]:
    """The shape of every tensor whose rank is known, by name; initializers included.

    ONNX's own inference does it. What computes its shapes at run time, as attention that exporters spell out does, is
    left to ONNX Runtime's symbolic inference.

    Args:
        model: A ``ModelProto``, with standard operators.
    """
    found = _stated(inferred(model), model)
    if any(_is_open(node, found) for node in model.graph.node):
        known = {name: dims for name, dims in found.items() if dims.count(None) <= 1}
        found = found | _symbolic(model) | known
    return found


def inferred(model: Any) -> Any:
    """The graph with the shapes that ONNX's inference finds; the graph as it is where that fails."""
    try:
        return require("onnx.shape_inference", "").infer_shapes(model, data_prop=True).graph
    except MemoryError:
        raise
    except Exception:  # shapes help, but a checker's opinion does not stop a model
        traceback.print_exc()  # into the log of the task
        return model.graph


def dims_of(value: Any) -> Dims | None:
    """The stated shape of an input, an output or a tensor; None if its rank is unknown."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return [int(d.dim_value) if d.HasField("dim_value") else None for d in kind.shape.dim]


def _is_open(node: Any, found: dict[str, Dims]) -> bool:
    """Whether a node gives a shape that is computed, with more than its batch unknown."""
    if node.op_type not in ("Reshape", "Expand"):
        return False
    dims = found.get(node.output[0])
    return dims is None or dims.count(None) > 1


def _symbolic(model: Any) -> dict[str, Dims]:
    """Shapes by ONNX Runtime's symbolic inference; {} where it fails."""
    infer = require("onnxruntime.tools.symbolic_shape_infer", "").SymbolicShapeInference
    try:
        return _stated(infer.infer_shapes(model, auto_merge=True).graph, model)
    except MemoryError:
        raise
    except Exception:  # it stumbles over operators it does not know in many ways
        traceback.print_exc()  # into the log of the task
        return {}


def _stated(graph: Any, model: Any) -> dict[str, Dims]:
    found: dict[str, Dims] = {t.name: list(t.dims) for t in model.graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.name not in found and (dims := dims_of(value)) is not None:
            found[value.name] = dims
    return found

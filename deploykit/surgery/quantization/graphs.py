"""Operators of quantized ONNX graphs, and what ONNX Runtime's tools make of graphs they stumble over."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from deploykit.core.errors import CandidateError, DatasetError
from deploykit.core.extras import require

#: Operators of quantized graphs: conversions, and integer operators that are not called QLinear….
CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
INTEGER = frozenset({"ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QGemm"})
#: Operators that read weights of few bits and compute in floats.
PACKED = frozenset({"MatMulNBits"})
#: Operators that hold most weights and arithmetic, and the activations that melt into their integer kernels: left out,
#: each of these would be a float operator between two conversions.
HEAVY = ("Clip", "Conv", "ConvTranspose", "Gemm", "MatMul", "Relu")
#: Numbers of float32, float16, float64 and bfloat16 among the types of a file.
_FLOATS = frozenset({1, 10, 11, 16})
T = TypeVar("T")


def operator_types() -> list[str]:
    """Types of operators ONNX Runtime can quantize ahead of time."""
    registry = require("onnxruntime.quantization.registry", "")
    return sorted({*registry.QLinearOpsRegistry, *registry.QDQRegistry})


def is_integer(op_type: str) -> bool:
    """Whether an operator is one of those that compute in integers."""
    return op_type in INTEGER or op_type.startswith("QLinear")


def is_quantized(node: Any) -> bool:
    """Whether quantizers write such a node: a conversion, an integer operator, or one with weights of few bits."""
    return node.op_type in CONVERSIONS or is_integer(node.op_type) or node.op_type == "MatMulNBits"


def integer_nodes(graph: Any) -> list[bool]:
    """Which nodes of a graph compute in integers.

    An operator does when it stands between DequantizeLinear and QuantizeLinear, the pattern ONNX Runtime turns into an
    integer kernel, when it is an integer operator itself, or when it moves integers. With weights in float it does not.
    """
    floats = {i.name for i in graph.initializer if len(i.dims) > 1 and i.data_type in _FLOATS}
    makers = {output: node.op_type for node in graph.node for output in node.output}
    takers = {i for node in graph.node if node.op_type == "QuantizeLinear" for i in node.input}
    integers: set[str] = set()
    found = []
    for node in graph.node:
        if node.op_type in CONVERSIONS or node.op_type == "Constant":
            if node.op_type == "QuantizeLinear":
                integers.update(node.output)
            found.append(False)
            continue
        sources = [makers[i] for i in node.input if i in makers and makers[i] != "Constant"]
        between = bool(sources) and all(s == "DequantizeLinear" for s in sources) and not takers.isdisjoint(node.output)
        between = between and floats.isdisjoint(node.input)
        moved = bool(node.input) and node.input[0] in integers
        if node.op_type.startswith("QLinear") or moved:
            integers.update(node.output)
        found.append(is_integer(node.op_type) or between or moved)
    return found


def done_before(graph: Any) -> set[str]:
    """Names of the nodes that an earlier step has quantized, with those that scale what integer operators give."""
    constants = {i.name for i in graph.initializer}
    weights = {
        name for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in constants for name in n.output
    }
    found, scaled, cast = set[str](), set[str](), set[str]()
    for node, integer in zip(graph.node, integer_nodes(graph), strict=True):
        if integer or node.op_type in CONVERSIONS or node.op_type in PACKED or not weights.isdisjoint(node.input):
            found.add(node.name)
            if node.op_type == "DynamicQuantizeLinear" or node.op_type in INTEGER:
                scaled.update(node.output)
        elif node.op_type in ("Cast", "Mul") and not scaled.isdisjoint(node.input):
            found.add(node.name)
            if node.op_type == "Cast":
                cast.update(node.output)
            if cast.isdisjoint(node.input):  # else it is what the float operator gave
                scaled.update(node.output)
    return found


def with_fewer(types: Sequence[str], work: Callable[[Sequence[str]], T], notes: dict[str, Any]) -> T:
    """Do a work for all types of operators, or for matrix products and convolutions alone where that fails.

    A note says so, and why.
    """
    heavy = [kind for kind in types if kind in HEAVY]
    try:
        return work(types)
    except (MemoryError, DatasetError):
        raise
    except Exception as error:  # whatever the graph makes ONNX Runtime's tools stumble over
        if len(heavy) in (0, len(types)):
            raise
        traceback.print_exc()  # into the log of the task
        found = work(heavy)
        text = " ".join(str(error).split())[:200]
        notes["operators"] = f"only convolutions and matrix products: quantizing all operators failed ({text})"
        return found


@contextlib.contextmanager
def failures(what: str, tool: str = "ONNX Runtime") -> Iterator[None]:
    """Say of whatever a tool stumbles over that it is the model's.

    Args:
        what: What the tool does, for example ``"quantize"``.
        tool: Its name.

    Raises:
        CandidateError: They failed.
    """
    try:
        yield
    except (MemoryError, DatasetError):  # which are not the model's
        raise
    except Exception as error:  # they raise whatever the graph makes them stumble over
        text = " ".join(str(error).split())
        raise CandidateError(
            f"{tool} cannot {what} the model: {type(error).__name__}: {text[:400]}",
            remedy="try other settings of this technique; the log has the traceback.",
        ) from error

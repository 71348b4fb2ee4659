"""Operators of quantized ONNX graphs, and what ONNX Runtime's tools make of graphs they stumble over."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from deploykit.core.errors import CandidateError
from deploykit.core.extras import require

#: Operators of quantized graphs: conversions, and integer operators that are not called QLinear….
CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
INTEGER = frozenset({"ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QGemm"})
#: Operators that hold most weights and arithmetic, and the activations that melt into their integer kernels: left out,
#: each of these would be a float operator between two conversions.
HEAVY = ("Clip", "Conv", "ConvTranspose", "Gemm", "MatMul", "Relu")
T = TypeVar("T")


def operator_types() -> list[str]:
    """Types of operators ONNX Runtime can quantize ahead of time."""
    registry = require("onnxruntime.quantization.registry", "")
    return sorted({*registry.QLinearOpsRegistry, *registry.QDQRegistry})


def is_integer(op_type: str) -> bool:
    """Whether an operator is one of those that compute in integers."""
    return op_type in INTEGER or op_type.startswith("QLinear")


def marks(graph: Any) -> list[str]:
    """Types of the operators that show that a graph is quantized."""
    return sorted({n.op_type for n in graph.node if n.op_type in CONVERSIONS or is_integer(n.op_type)})


def with_fewer(types: Sequence[str], work: Callable[[Sequence[str]], T], notes: dict[str, Any]) -> T:
    """Do a work for all types of operators, or for matrix products and convolutions alone where that fails.

    A note says so, and why.
    """
    heavy = [kind for kind in types if kind in HEAVY]
    try:
        return work(types)
    except MemoryError:
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
def failures(what: str) -> Iterator[None]:
    """Say of whatever ONNX Runtime's tools stumble over that it is the model's.

    Raises:
        CandidateError: They failed.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # they raise whatever the graph makes them stumble over
        text = " ".join(str(error).split())
        raise CandidateError(
            f"ONNX Runtime cannot {what} the model: {type(error).__name__}: {text[:400]}",
            remedy="try other settings of this technique; the log has the traceback.",
        ) from error

"""A runtime in one file: ONNX's own reference evaluator (slow, exact, in NumPy)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploykit.core.candidate import Target
from deploykit.core.extras import require
from deploykit.core.model import TensorSpec
from deploykit.runtimes._contract import Device, Runtime
from deploykit.runtimes._session import Session


class _ReferenceSession(Session):
    def __init__(self, path: Path) -> None:
        onnx = require("onnx", "")
        graph = onnx.load(str(path)).graph
        self._evaluator = require("onnx.reference", "").ReferenceEvaluator(str(path))
        self.inputs = tuple(_spec(onnx, v) for v in graph.input)
        self.outputs = tuple(_spec(onnx, v) for v in graph.output)

    def _run(self, arrays: Sequence[Any]) -> Sequence[Any]:
        return self._evaluator.run(None, dict(zip((s.name for s in self.inputs), arrays, strict=True)))


def _spec(onnx: Any, value: Any) -> TensorSpec:
    tensor = value.type.tensor_type
    shape = tuple(d.dim_value or None for d in tensor.shape.dim)
    return TensorSpec(value.name, shape, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name)


class Reference(Runtime):
    """ONNX's reference evaluator."""

    name = "reference"
    label = "ONNX reference evaluator"
    help = "Every operator in NumPy: for checking others."
    requires = ("onnx",)
    accepts = frozenset({"onnx"})
    native_to = frozenset({"onnx"})

    def devices(self) -> tuple[Device, ...]:
        return (Device("cpu", available=True, detail="NumPy"),)

    def _open(self, path: Path, target: Target) -> Session:
        return _ReferenceSession(path)


ADAPTER = Reference()

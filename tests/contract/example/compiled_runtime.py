"""A runtime that compiles for the device it runs on, as TensorRT or TVM do: here, into a pickled graph."""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploykit.core.candidate import Target
from deploykit.core.extras import require
from deploykit.core.model import TensorSpec
from deploykit.runtimes._compile import CompileJob
from deploykit.runtimes._contract import Device, Runtime
from deploykit.runtimes._session import Session


class _CompiledSession(Session):
    def __init__(self, path: Path) -> None:
        found = pickle.loads(path.read_bytes())  # this runtime has written it on this machine
        if found["device"] != _device():
            raise RuntimeError(f"compiled for {found['device']}, not for {_device()}")
        self._evaluator = require("onnx.reference", "").ReferenceEvaluator(found["graph"])
        self.inputs = tuple(TensorSpec(*spec) for spec in found["inputs"])
        self.outputs = tuple(TensorSpec(*spec) for spec in found["outputs"])

    def _run(self, arrays: Sequence[Any]) -> Sequence[Any]:
        return self._evaluator.run(None, dict(zip((s.name for s in self.inputs), arrays, strict=True)))


def _device() -> str:
    """What a GPU and its driver would be."""
    return os.environ.get("EXAMPLE_DEVICE", "abacus 1.0")


def _spec(onnx: Any, value: Any) -> tuple[str, tuple[int | None, ...], str]:
    tensor = value.type.tensor_type
    shape = tuple(d.dim_value or None for d in tensor.shape.dim)
    return value.name, shape, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name


class Compiled(Runtime):
    """ONNX's reference evaluator behind a compiler."""

    name = "compiled"
    label = "Example compiler"
    help = "Compiles for one device."
    requires = ("onnx",)
    accepts = frozenset({"onnx"})
    default = False
    compiles = True

    def devices(self) -> tuple[Device, ...]:
        return (Device("cpu", available=True, detail=_device()),)

    def device_facts(self, device: str) -> dict[str, Any]:
        return {"abacus": _device()}

    def _compile_file(self, job: CompileJob) -> None:
        onnx = require("onnx", "")
        model = onnx.load(str(job.source))
        found = {
            "device": _device(),
            "graph": model.SerializeToString(),
            "inputs": [_spec(onnx, v) for v in model.graph.input],
            "outputs": [_spec(onnx, v) for v in model.graph.output],
        }
        job.target.write_bytes(pickle.dumps(found))
        job.notes["nodes"] = len(model.graph.node)

    def _open(self, path: Path, target: Target) -> Session:
        return _CompiledSession(path)


ADAPTER = Compiled()

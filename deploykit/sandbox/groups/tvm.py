"""TVM, whose import takes seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from deploykit.sandbox.groups._contract import Costs, ImportGroup


class WithTVM(ImportGroup):
    """TVM with its reader of ONNX files."""

    name = "tvm"
    label = "TVM"
    help = "TVM with its reader of ONNX files."
    extra = "tvm"
    requires = ("tvm", "onnx")
    modules = ("numpy", "onnx", "tvm", "tvm.relax.frontend.onnx", "onnxslim")
    environment: ClassVar[Mapping[str, str]] = {"TVM_BIND_THREADS": "0"}  # processes are pinned where they are timed
    costs = Costs(start_s=5.0, step=(2.0, 0), open_s=(0.1, 1e-3), build_s=(1.0, 0.02), memory_bytes=400_000_000)


ADAPTER = WithTVM()

"""PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from deploykit.sandbox.groups._contract import Costs, ImportGroup


class WithTorch(ImportGroup):
    """PyTorch, and what its exporter to ONNX needs."""

    name = "torch"
    label = "PyTorch"
    help = "PyTorch with its exporter to ONNX."
    extra = "torch"
    requires = ("torch",)
    modules = ("numpy", "torch", "torch.export")
    later = ("onnx", "onnxscript", "torch.onnx")
    environment: ClassVar[Mapping[str, str]] = {
        "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",  # else it unpickles whatever the safe unpickler refuses
    }
    costs = Costs(
        start_s=3.0,
        step=(4.0, 0),
        evaluation=(1.0, 5000),
        session=(0.9, 0),
        open_s=(0.8, 5e-3),
        call_s=(5e-5, 1e-5),
        build_s=(2.0, 0.02),
        memory_bytes=500_000_000,
    )


ADAPTER = WithTorch()

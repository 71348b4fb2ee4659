"""PyTorch: exported programs and TorchScript on the CPU and on CUDA GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploykit.core.candidate import Target
from deploykit.core.extras import require
from deploykit.runtimes import _torch
from deploykit.runtimes._contract import Device, Runtime
from deploykit.runtimes._hardware import nvidia
from deploykit.runtimes._session import Session


class Torch(Runtime):
    """Runs ``.pt2`` files and TorchScript."""

    name = "torch"
    label = "PyTorch"
    help = "PyTorch itself: runs the graph operator by operator on the CPU, or on a CUDA GPU."
    note = (
        "It is the baseline of a PyTorch model. Each operator is called from Python, so small models spend most of "
        "their time between operators."
    )
    extra = "torch"
    requires = ("torch",)
    accepts = frozenset({"pytorch"})
    native_to = frozenset({"pytorch"})
    group = "torch"
    fresh_process = True
    default = False  # no other format is converted to it

    def devices(self) -> tuple[Device, ...]:
        """The CPU, and the CUDA GPU that PyTorch can use; else why it cannot."""
        torch = require("torch", self.extra)
        return Device("cpu", available=True, detail=f"PyTorch {torch.__version__}"), _cuda(torch)

    def _open(self, path: Path, target: Target) -> Session:
        torch = _torch.pytorch()
        if target.device == "cpu":
            torch.set_num_threads(target.threads or torch.get_num_threads())
        if _torch.is_script(path):
            script = _torch.opened_script(path, target.device)
            return _torch.TorchSession(script.call, script.inputs, script.outputs, target.device)
        return _torch.open_program(path, target.device)


def _cuda(torch: Any) -> Device:
    if torch.cuda.is_available():
        return Device("cuda", available=True, detail=torch.cuda.get_device_name(0))
    built = torch.version.cuda is not None or torch.version.hip is not None
    remedy = "" if built else "install the build for your driver from pytorch.org"
    said = f"PyTorch {torch.__version__} " + ("finds no GPU" if built else "was built without CUDA")
    if reason := nvidia().reason:
        return Device("cuda", available=False, detail=f"{reason}; {said}", remedy=remedy)
    return Device("cuda", available=False, detail=f"{nvidia()}: {said}", state="not installed", remedy=remedy)


ADAPTER = Torch()

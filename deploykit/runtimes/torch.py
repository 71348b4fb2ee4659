"""PyTorch: exported programs and TorchScript on the CPU and on CUDA GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploykit.core.candidate import Target
from deploykit.core.extras import require
from deploykit.core.problem import Effect, Facts, Problem
from deploykit.runtimes import _torch, _torch_program
from deploykit.runtimes._compile import CompileJob
from deploykit.runtimes._contract import Device, Runtime
from deploykit.runtimes._hardware import nvidia
from deploykit.runtimes._session import Session

#: Types, and the features of CPUs that compute in them.
_HALF: dict[Effect, frozenset[str]] = {
    "bfloat16": frozenset({"avx512_bf16", "amx_bf16", "bf16"}),
    "float16": frozenset({"avx512_fp16", "amx_fp16", "asimdhp", "fphp"}),
}


class Torch(Runtime):
    """Runs ``.pt2`` files and TorchScript."""

    name = "torch"
    label = "PyTorch"
    help = "PyTorch itself, on the CPU or a CUDA GPU: operator by operator, or compiled (technique compile_graph)."
    note = (
        "It is the baseline of a PyTorch model. Each operator is called from Python, so small models spend most of "
        "their time between operators, unless they are compiled."
    )
    extra = "torch"
    requires = ("torch",)
    accepts = frozenset({"pytorch"})
    native_to = frozenset({"pytorch"})
    group = "torch"
    fresh_process = True
    compiles = True
    default = False  # no other format is converted to it

    def devices(self) -> tuple[Device, ...]:
        """The CPU, and the CUDA GPU that PyTorch can use; else why it cannot."""
        torch = require("torch", self.extra)
        return Device("cpu", available=True, detail=f"PyTorch {torch.__version__}"), _cuda(torch)

    def problems(self, target: Target, effects: frozenset[Effect], facts: Facts) -> Iterator[Problem]:
        """A missing compiler, and half precision on CPUs without its arithmetic."""
        yield from super().problems(target, effects, facts)
        if "compiled" in effects and not _torch_program.compiler():
            yield Problem("impossible", "compiling needs a C++ compiler: install g++")
        if "quantized" in effects and effects.isdisjoint(_HALF):
            yield from _integers(target, effects, facts)
        if target.device != "cpu" or not facts.features:
            return
        for kind, able in _HALF.items():
            if kind in effects and not able & {*facts.features}:
                yield Problem("pointless", f"this CPU has no arithmetic in {kind} ({', '.join(sorted(able))})")

    def device_facts(self, device: str) -> dict[str, Any]:
        """The GPU and its driver."""
        return {"gpu": str(nvidia())} if device == "cuda" else {}

    def compiles_after(self, effects: frozenset[Effect]) -> bool:
        """Programs that ask for it."""
        return "compiled" in effects

    def compiles_file(self, path: Path) -> bool:
        """Programs that ask for it."""
        return _torch_program.wants_compiling(path)

    def _compile_file(self, job: CompileJob) -> None:
        _torch_program.compile_program(job.source, job.target, job.device)

    def _open(self, path: Path, target: Target) -> Session:
        torch = _torch.pytorch()
        if target.device == "cpu":
            torch.set_num_threads(target.threads or torch.get_num_threads())
        if path.is_dir():
            return _torch_program.open_compiled(path, target.device)
        if _torch.is_script(path):
            script = _torch.opened_script(path, target.device)
            return _torch.TorchSession(script.call, script.inputs, script.outputs, target.device)
        return _torch.open_program(path, target.device)


def _integers(target: Target, effects: frozenset[Effect], facts: Facts) -> Iterator[Problem]:
    """Where PyTorch has no integer kernels for a program that was quantized."""
    if target.device != "cpu" or (facts.machine and not facts.x86):
        where = "a GPU" if target.device != "cpu" else facts.machine
        yield Problem("pointless", f"PyTorch has integer kernels for programs on x86 alone: on {where} it is no faster")
    elif "compiled" not in effects:
        yield Problem(
            "pointless",
            "operator by operator, PyTorch computes integer layers in float32, with conversions around them: let "
            "compile_graph follow",
        )


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

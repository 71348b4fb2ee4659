"""Apache TVM on the CPU, without tuning."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.candidate import Target
from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.runtimes import _engines
from deploykit.runtimes._compile import CompileJob
from deploykit.runtimes._contract import Device, Runtime
from deploykit.runtimes._session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FILE, _ENTRY = "model.so", "main"
#: Programs that TVM can link a library with, in its own order.
_LINKERS = ("g++", "gcc", "clang++", "clang", "c++", "cc")
#: TVM's mode of threads that names no cores.
_ANY_CORES = 1


class _TvmSession(Session):
    def __init__(self, tvm: Any, engine: _engines.Engine, threads: int) -> None:
        from tvm import relax

        self._tensor = tvm.runtime.tensor
        tvm.get_global_func("runtime.config_threadpool")(_ANY_CORES, threads or os.cpu_count() or 1)
        self._machine = relax.VirtualMachine(tvm.runtime.load_module(str(engine.file)), tvm.cpu())
        self._call = self._machine[_ENTRY]
        self.inputs, self.outputs = engine.inputs, engine.outputs
        self._single = len(self.outputs) == 1

    def _run(self, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        found = self._call(*map(self._tensor, arrays))
        return [found.numpy()] if self._single and hasattr(found, "numpy") else [value.numpy() for value in found]


class TVM(Runtime):
    """Runs ``.onnx`` files as libraries that it compiles for this CPU."""

    name = "tvm"
    label = "TVM (untuned)"
    help = "Apache TVM: a compiler of models, here with its default schedules."
    note = (
        "Its tuner, which makes TVM fast, does not run in version 0.27: expect it to be 7 to 100 times slower than "
        "ONNX Runtime. The batch size is compiled in, and so are all other sizes."
    )
    extra = "tvm"
    requires = ("tvm", "onnx", "onnxslim")
    accepts = frozenset({"onnx"})
    group = "tvm"
    default = False
    compiles = True

    def devices(self) -> tuple[Device, ...]:
        """The CPU, if a linker is there."""
        if any(map(shutil.which, _LINKERS)):
            return (Device("cpu", available=True, detail="LLVM, untuned"),)
        return (
            Device("cpu", available=False, detail=f"no linker on the PATH ({', '.join(_LINKERS)})",
                   state="not installed", remedy="install g++ or clang"),
        )  # fmt: skip

    def _compile_file(self, job: CompileJob) -> None:
        tvm, onnx = require("tvm", self.extra), require("onnx", "")
        model = onnx.load(str(job.source))
        inputs = _engines.fixed_shapes(onnx, model.graph, job.batch_size, self.label)
        # It reads no shapes that are computed; with fixed sizes they can be folded.
        model = require("onnxslim", self.extra).slim(model)
        job.target.mkdir()
        try:
            from tvm.relax.frontend.onnx import from_onnx
            from tvm.target import codegen

            module = from_onnx(model, keep_params_in_input=False)
            target = tvm.target.Target({"kind": "llvm", "mcpu": codegen.llvm_get_system_cpu()})
            shapes = _shapes(module[_ENTRY].ret_ty, len(model.graph.output))
            tvm.compile(module, target=target).export_library(str(job.target / _FILE))
        except Exception as error:  # TVM raises errors of Python, of its own and of its C++
            text = " ".join(str(error).split())
            raise UnsupportedModelError(
                f"TVM {tvm.__version__} cannot compile {job.source.name}: {text[:400]}.",
                remedy="convert the model with other operators, or choose another runtime.",
            ) from error
        outputs = _engines.outputs_of(onnx, model.graph, shapes)
        _engines.keep(job.target, _FILE, inputs, outputs, {"version": tvm.__version__})
        job.notes |= {"target": str(target.attrs["mcpu"]), "tuned": False}

    def _open(self, path: Path, target: Target) -> Session:
        return _TvmSession(require("tvm", self.extra), _engines.opened(path, self.label), target.threads)


def _shapes(kind: Any, count: int) -> list[tuple[int, ...] | None]:
    """The sizes of each output, None where they depend on the data."""
    parts = [kind] if count == 1 and not hasattr(kind, "fields") else list(kind.fields)
    found: list[tuple[int, ...] | None] = []
    for part in parts:
        try:
            found.append(tuple(int(size) for size in part.shape))
        except (TypeError, ValueError, AttributeError):
            found.append(None)
    return found


ADAPTER = TVM()

"""ExecuTorch with XNNPACK: programs of PyTorch, lowered for phones and boards, on this CPU."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.candidate import Target
from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.model import TensorSpec
from deploykit.core.problem import Effect, Facts, Problem
from deploykit.readers.pytorch.archive import TWO_LINES, Archive
from deploykit.readers.pytorch.program import Program
from deploykit.runtimes import _engines, _torch
from deploykit.runtimes._compile import CompileJob
from deploykit.runtimes._contract import Device, Runtime
from deploykit.runtimes._session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FILE, _ENTRY = "model.pte", "forward"


class _ExecuTorchSession(Session):
    def __init__(self, runtime: Any, engine: _engines.Engine) -> None:
        self._torch = _torch.pytorch()
        self._program = runtime.Runtime.get().load_program(
            str(engine.file), verification=runtime.Verification.InternalConsistency
        )
        self._method = self._program.load_method(_ENTRY)
        self.inputs, self.outputs = engine.inputs, engine.outputs

    def _run(self, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        given = [self._torch.from_numpy(a if a.flags.writeable else a.copy()) for a in arrays]
        return [value.numpy() for value in self._method.execute(given)]


class ExecuTorch(Runtime):
    """Runs ``.pt2`` files as the programs that ExecuTorch makes of them."""

    name = "executorch"
    label = "ExecuTorch"
    help = "PyTorch's runtime for phones and boards, here with XNNPACK's kernels on this CPU."
    note = "It takes as many threads as it likes: its Python interface has no setting. All sizes are compiled in."
    extra = "executorch"
    requires = ("executorch", "torch")
    accepts = frozenset({"pytorch"})
    group = "torch"
    default = False
    compiles = True

    def devices(self) -> tuple[Device, ...]:
        """The CPU, through XNNPACK; what other backends need is not in the Python package."""
        return (Device("cpu", available=True, detail="XNNPACK"),)

    def problems(self, target: Target, effects: frozenset[Effect], facts: Facts) -> Iterator[Problem]:
        """Integers as PyTorch's own kernels take them."""
        yield from super().problems(target, effects, facts)
        if "quantized" in effects and effects.isdisjoint({"float16", "bfloat16"}):
            yield Problem(
                "impossible", "programs are quantized with uint8 activations for PyTorch's kernels: XNNPACK has int8"
            )

    def _compile_file(self, job: CompileJob) -> None:
        if _torch.is_script(job.source):
            raise UnsupportedModelError(
                f"ExecuTorch takes exported programs (.pt2); {job.source.name} is TorchScript.",
                remedy=f"export the module: {TWO_LINES}",
            )
        with Archive(job.source) as archive:
            known = Program(archive, trusted=True)
        inputs = tuple(_fixed(spec, job) for spec in known.inputs)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what PyTorch says of itself
                content, shapes = _lowered(_torch.load_program(job.source), inputs)
        except UnsupportedModelError:
            raise
        except Exception as error:  # whatever the exporter runs into
            text = " ".join(str(error).split())[:400]
            raise UnsupportedModelError(
                f"ExecuTorch cannot lower {job.source.name}: {type(error).__name__}: {text}",
                remedy="choose the runtime torch, or convert the model to ONNX.",
            ) from error
        job.target.mkdir()
        (job.target / _FILE).write_bytes(content)
        outputs = tuple(
            TensorSpec(spec.name, shape, spec.dtype) for spec, shape in zip(known.outputs, shapes, strict=True)
        )
        _engines.keep(job.target, _FILE, inputs, outputs, {})
        job.notes |= {"program_bytes": len(content), "backend": "XNNPACK"}

    def _open(self, path: Path, target: Target) -> Session:
        return _ExecuTorchSession(require("executorch.runtime", self.extra), _engines.opened(path, self.label))


def _fixed(spec: TensorSpec, job: CompileJob) -> TensorSpec:
    shape = tuple(spec.shape or ())
    if free := [axis for axis, size in enumerate(shape) if axis and size is None]:
        raise UnsupportedModelError(
            f"ExecuTorch compiles for fixed sizes: input {spec.name!r} leaves dimension {free[0]} free.",
            remedy="export the model with fixed sizes besides the batch, or choose another runtime.",
        )
    return TensorSpec(spec.name, tuple(job.batch_size if size is None else size for size in shape), spec.dtype)


def _lowered(program: Any, inputs: Sequence[TensorSpec]) -> tuple[bytes, list[tuple[int, ...]]]:
    """A program for fixed sizes, and the shapes of its outputs."""
    _torch.pytorch()
    import torch

    partitioner = require("executorch.backends.xnnpack.partition.xnnpack_partitioner", ADAPTER.extra)
    exir = require("executorch.exir", ADAPTER.extra)
    call = _torch.call_of(program)

    class Flat(torch.nn.Module):  # type: ignore[misc]  # mypy does not look into PyTorch
        def __init__(self) -> None:
            super().__init__()
            self.inner = program.module(check_guards=False)

        def forward(self, *given: Any) -> Any:
            found = self.inner(*given)
            return tuple(torch.utils._pytree.tree_leaves(found))

    examples = tuple(torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in inputs)
    shapes = [tuple(value.shape) for value in call(examples)]
    exported = torch.export.export(Flat(), examples)
    lowered = exir.to_edge_transform_and_lower(exported, partitioner=[partitioner.XnnpackPartitioner()])
    return bytes(lowered.to_executorch().buffer), shapes


ADAPTER = ExecuTorch()

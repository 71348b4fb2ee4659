"""Compiling: the same function as machine code for one device, built where it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from deploykit.core.model import Layer
from deploykit.core.problem import Effect, Facts, Problem
from deploykit.transforms import _programs
from deploykit.transforms._conditions import Condition, Without
from deploykit.transforms._contract import Family, Transform, TransformJob, Variant


class _PyTorch(Variant):
    name = "pytorch"
    label = "compiling (PyTorch)"
    help = "Asks the torch runtime to compile the program with AOTInductor for the device it runs on."
    requires = ("torch",)
    extra = "torch"
    accepts = frozenset({"pytorch"})
    produces = "pytorch"
    seeded = False
    keeps_layers = True

    def unsuited(self, parameters: dict[str, Any], layers: Sequence[Layer], facts: Facts) -> Iterator[Problem]:
        """TorchScript."""
        yield from _programs.unsuited(layers)

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """The runtime compiles it."""
        return frozenset({"compiled"})

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Once is enough."""
        return (Without("compiled", "to be compiled already"),)

    def _apply(self, job: TransformJob) -> None:
        from deploykit.surgery.torch_programs import ask_to_compile

        ask_to_compile(job.source, job.target)


class CompileGraph(Transform):
    """Compiles the graph instead of running it operator by operator."""

    name = "compile_graph"
    label = "compiled"
    help = (
        "PyTorch's compiler (AOTInductor) joins operators and writes C++ or Triton kernels for them; on x86, int8 "
        "programs get integer kernels. The file stays a program for any machine: it is compiled where it runs, "
        "once, before anything is timed. That takes about a minute and a C++ compiler; a server compiles at its start."
    )
    family = Family("compile", "triangle-right", 40)
    parameters = ()
    variants = (_PyTorch(),)


ADAPTER = CompileGraph()

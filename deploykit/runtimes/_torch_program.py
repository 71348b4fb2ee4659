"""Exported programs with flat inputs and named outputs, in another precision or as machine code."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploykit.core.errors import CandidateError, UnsupportedModelError
from deploykit.core.model import TensorSpec
from deploykit.readers.pytorch.archive import WISH, Archive
from deploykit.readers.pytorch.program import Program
from deploykit.runtimes._torch import (
    TorchSession,
    caller,
    load_program,
    moved,
    open_program,
    pytorch,
    unable,
    unguarded,
)

#: What is written: the library in its package, or a program that asks for none; and what it takes and gives.
_PACKAGE, _PROGRAM, _SIGNATURE = "model.pt2", "program.pt2", "signature.json"
#: What the module of a program is called while it is exported again.
_INNER = "model"
#: Largest difference between a library and its program, relative to the largest answer; with fewer bits, where a
#: number that lies between two others may be rounded to either.
_SAME, _FEW_SAME = 1e-3, 3e-2
#: The number of threads is that of the session that runs it, not of the process that compiles.
_SETTINGS = {"cpp.dynamic_threads": True}
#: Integer kernels take weights in an order of their own, which is made of constants alone.
_INTEGERS = {"freezing": True}


def wants_compiling(path: Path) -> bool:
    """Whether a program asks to be compiled."""
    with Archive(path) as archive:
        return archive.kind == "program" and archive.has(WISH)


def compiler() -> str:
    """Path of the C++ compiler that PyTorch would call, "" for none."""
    return shutil.which(os.environ.get("CXX", "")) or shutil.which("g++") or shutil.which("clang++") or ""


def compile_program(source: Path, target: Path, device: str) -> None:
    """Write a folder with a library for a device, or with the program where it does not ask for one.

    Raises:
        UnsupportedModelError: There is no compiler, or it cannot compile the program.
    """
    target.mkdir()
    if not wants_compiling(source):
        shutil.copyfile(source, target / _PROGRAM)
        return
    torch = pytorch()
    with Archive(source) as archive:
        known = Program(archive, trusted=True)
    program = flat(load_program(source), known)
    given = tuple(examples(known))
    if device != "cpu":
        program, given = moved(program, device), tuple(one.to(device) for one in given)
    program._example_inputs = (given, {})
    settings = _SETTINGS | (_INTEGERS if device == "cpu" and _holds(program, torch.int8) else {})
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch._inductor.aoti_compile_and_package(
                program, package_path=str(target / _PACKAGE), inductor_configs=settings
            )
    except Exception as error:  # whatever the compiler, or what it calls, runs into
        if not compiler():
            raise UnsupportedModelError(
                "PyTorch compiles with a C++ compiler, and there is none on this machine.",
                remedy="install g++, or leave compile_graph out.",
            ) from error
        raise unable(source.name, error) from error
    _check_same(program, target / _PACKAGE, given)
    signature = {"inputs": [s.to_json() for s in known.inputs], "outputs": [s.to_json() for s in known.outputs]}
    (target / _SIGNATURE).write_text(json.dumps(signature))


def _check_same(program: Any, package: Path, given: Sequence[Any]) -> None:
    """Compare a library with the program that it was built from, on random numbers.

    Raises:
        CandidateError: It computes something else.
    """
    torch = pytorch()
    generator = torch.Generator().manual_seed(0)
    fed = [
        torch.randn(one.shape, generator=generator).to(one) if one.is_floating_point() else one for one in given
    ]  # fmt: skip
    same = _FEW_SAME if _holds(program, torch.float16, torch.bfloat16, torch.int8) else _SAME
    with torch.inference_mode():
        wanted = program.module(check_guards=False)(*fed)
        found = torch._inductor.aoti_load_package(str(package))(*fed)
    for name, value in wanted.items():
        gap = (value.float() - found[name].float()).abs().max().item() if value.numel() else 0.0
        limit = same * max(1.0, value.float().abs().max().item() if value.numel() else 1.0)
        if not gap <= limit:
            raise CandidateError(
                f"What PyTorch has compiled computes something else: {name!r} differs by {gap:.3g}.",
                remedy="leave compile_graph out for this model.",
            )


def _holds(program: Any, *dtypes: Any) -> bool:
    """Whether a program has weights of one of some types."""
    return any(value.dtype in dtypes for value in program.state_dict.values())


def open_compiled(folder: Path, device: str) -> TorchSession:
    """What `compile_program` has written on this machine.

    Raises:
        UnsupportedModelError: PyTorch cannot load it.
    """
    torch = pytorch()
    if (folder / _PROGRAM).exists():
        return open_program(folder / _PROGRAM, device)
    signature = json.loads((folder / _SIGNATURE).read_text())
    inputs, outputs = (tuple(TensorSpec.from_json(s) for s in signature[key]) for key in ("inputs", "outputs"))
    try:
        loaded = torch._inductor.aoti_load_package(str(folder / _PACKAGE))
    except Exception as error:  # whatever its loader runs into
        raise unable(folder.name, error) from error
    names = [spec.name for spec in outputs]

    def call(given: Sequence[Any]) -> Sequence[Any]:
        found = loaded(*given)
        return [found[name] for name in names]

    return TorchSession(call, inputs, outputs, device)


def flat(program: Any, known: Program, *, module: Any = None, dtype: Any = None) -> Any:
    """A program that takes its inputs one by one and gives a dict of its outputs.

    Args:
        program: The program.
        known: Names and shapes.
        module: What computes instead of it, called as it is; None: it does itself.
        dtype: Type of PyTorch to compute in; None: as it is.
    """
    import warnings

    torch = pytorch()
    if module is None:
        module = unguarded(program)
    if dtype is not None:
        module.to(dtype)
    call = caller(program)
    names = [spec.name for spec in known.outputs]

    def forward(*given: Any) -> dict[str, Any]:
        fed = [x.to(dtype) if dtype is not None and x.is_floating_point() else x for x in given]
        found = call(module, fed)
        floats = [x.float() if dtype is not None and x.is_floating_point() else x for x in found]
        return dict(zip(names, floats, strict=True))

    forward.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # inputs are called by it
        [inspect.Parameter(spec.name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for spec in known.inputs]
    )
    whole = torch.nn.Module()  # the exporter does not look at the forward of a module that is a graph
    setattr(whole, _INNER, module)
    whole.forward = forward
    shapes = [
        {axis: torch.export.Dim.AUTO for axis, size in enumerate(spec.shape or ()) if size is None} or None
        for spec in known.inputs
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.export.export(whole, tuple(examples(known)), dynamic_shapes=tuple(shapes))
    return _renamed(made)


def _renamed(program: Any) -> Any:
    """A program whose weights are called as they were in the module inside."""
    start = f"{_INNER}."
    for held in (program._state_dict, program._constants):
        fresh = {name.removeprefix(start): value for name, value in held.items()}
        held.clear()
        held.update(fresh)
    signature = program.graph_signature
    for spec in (*signature.input_specs, *signature.output_specs):
        spec.target = spec.target and spec.target.removeprefix(start)
    return program


def examples(known: Program) -> Sequence[Any]:
    """Zeros that a program takes."""
    torch = pytorch()
    found = []
    for shape, spec in zip(known.examples(), known.inputs, strict=True):
        free = [size is None for size in spec.shape or ()]
        sizes = [max(size, 2) if open_ else size for size, open_ in zip(shape, free, strict=True)]  # 1 would be fixed
        found.append(torch.zeros(sizes, dtype=getattr(torch, spec.dtype)))
    return found

"""Changes of exported programs of PyTorch: another precision, and the wish to be compiled where they run."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

from deploykit.core.errors import UnsupportedModelError
from deploykit.readers.pytorch.archive import TWO_LINES, WISH, Archive
from deploykit.readers.pytorch.program import Program, opened
from deploykit.runtimes import _torch, _torch_program


def narrow(source: Path, target: Path, dtype: str) -> None:
    """Let a program compute in half precision; its inputs and outputs stay as they are.

    Args:
        source: The program.
        target: Where to write the other one.
        dtype: ``"float16"`` or ``"bfloat16"``.

    Raises:
        UnsupportedModelError: TorchScript, a program without weights in float32, or with numbers that the type cannot
            hold.
    """
    torch = _torch.pytorch()
    known = known_program(source)
    kind = getattr(torch, dtype)
    program = _torch.load_program(source)
    floats = {name: value for name, value in program.state_dict.items() if value.is_floating_point()}
    if not any(value.dtype is torch.float32 for value in floats.values()):
        raise UnsupportedModelError(
            "The model has no weights in float32 to store in 16 bits.", remedy="skip this technique for the model."
        )
    beyond = [name for name, value in floats.items() if bool((value.to(kind).isinf() & value.isfinite()).any())]
    if beyond:
        raise UnsupportedModelError(
            f"{dtype} cannot hold some numbers of {', '.join(beyond[:4])}{', …' if len(beyond) > 4 else ''}.",
            remedy="use type=bfloat16, which has the range of float32.",
        )
    write(_torch_program.flat(program, known, dtype=kind), target)


def known_program(source: Path) -> Program:
    """What is known of a program.

    Raises:
        UnsupportedModelError: It is TorchScript.
    """
    if _torch.is_script(source):
        raise UnsupportedModelError(
            f"{source.name} is TorchScript, which can only be run and converted.",
            remedy=f"make a .pt2 file of the module: {TWO_LINES}",
        )
    return opened(source, trusted=True)


def write(program: Any, target: Path) -> None:
    """Write a program without examples."""
    program._example_inputs = None
    with target.open("wb") as file:
        _torch.pytorch().export.save(program, file)


def ask_to_compile(source: Path, target: Path) -> None:
    """Copy a program with the wish to be compiled where it runs. Needs no PyTorch.

    Raises:
        UnsupportedModelError: It is TorchScript.
    """
    known_program(source)
    with Archive(source) as archive:
        root = archive.root
    shutil.copyfile(source, target)
    with zipfile.ZipFile(target, "a") as copy:
        copy.writestr(zipfile.ZipInfo(f"{root}{WISH}", (1980, 1, 1, 0, 0, 0)), json.dumps({"compile": "inductor"}))

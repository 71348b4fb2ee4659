"""Engines and libraries that a runtime has built here: files that hold code, opened only when deploykit built them.

A folder has the engine, what it takes and gives, and a seal: the digest of both, under a key that only this user can
read and that never leaves this machine. An engine that came from elsewhere, or was changed since, has no such seal.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import UnsafeModelError, UnsupportedModelError
from deploykit.core.files import cache_folder, read_small
from deploykit.core.model import TensorSpec
from deploykit.core.serial import dump, parse

if TYPE_CHECKING:
    from collections.abc import Iterable

_FACTS, _SEAL, _KEY = "facts.json", "seal", "engines.key"
_KEY_BYTES = 32
_MOST_FACTS_BYTES = 1 << 20


@dataclass(frozen=True)
class Engine:
    """An engine that deploykit has built.

    Attributes:
        file: The engine.
        inputs: What it takes, in order.
        outputs: What it gives.
        facts: What else its runtime noted.
    """

    file: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    facts: Mapping[str, Any]


def keep(
    folder: Path, file: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], facts: Mapping[str, Any]
) -> None:
    """Note what an engine takes and gives, and seal it.

    Args:
        folder: Where the engine is.
        file: Its name in there.
        inputs: What it takes.
        outputs: What it gives.
        facts: Plain facts for its runtime.
    """
    known = {"file": file, "inputs": [s.to_json() for s in inputs], "outputs": [s.to_json() for s in outputs],
             "facts": dict(facts)}  # fmt: skip
    content = dump(known)
    (folder / _FACTS).write_bytes(content)
    (folder / _SEAL).write_text(_seal((folder / file), content))


def opened(folder: Path, label: str) -> Engine:
    """An engine, if deploykit has built it on this machine and nothing has changed it since.

    Args:
        folder: As `keep` has filled it.
        label: The runtime's, for messages.

    Raises:
        UnsafeModelError: It has not, or something has.
    """
    try:
        if not folder.is_dir() or {p.name for p in folder.iterdir()} - {_FACTS, _SEAL} == set():
            raise ValueError("it is not a folder with an engine")
        content = read_small(folder / _FACTS, _MOST_FACTS_BYTES, "the facts of an engine", UnsafeModelError)
        seal = read_small(folder / _SEAL, 1024, "the seal of an engine", UnsafeModelError).decode("ascii")
        known = parse(content)
        file = folder / Path(known["file"]).name
        if not hmac.compare_digest(seal, _seal(file, content)):
            raise ValueError("its seal is not that of its content")
        specs = [tuple(TensorSpec.from_json(s) for s in known[name]) for name in ("inputs", "outputs")]
        return Engine(file, specs[0], specs[1], known["facts"])
    except (UnsafeModelError, OSError, ValueError, KeyError, TypeError) as error:
        raise UnsafeModelError(
            f"{label} does not open {folder.name}: an engine holds code, and deploykit did not build this one on this "
            f"machine, or it was changed since ({error}).",
            remedy="open the model it was built from; deploykit builds the engine again.",
        ) from error


def _seal(file: Path, facts: bytes) -> str:
    total = hmac.new(_key(), hashlib.sha256(facts).digest(), hashlib.sha256)
    with file.open("rb") as stream:
        total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def _key() -> bytes:
    """This user's key on this machine; made when it is first asked for."""
    path = cache_folder() / _KEY
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{_KEY}-")  # only this user can read it
        with os.fdopen(handle, "wb") as stream:
            stream.write(secrets.token_bytes(_KEY_BYTES))
        with contextlib.suppress(FileExistsError):  # another process was first
            os.link(name, path)
        Path(name).unlink()
    return read_small(path, _KEY_BYTES, "the key of engines", UnsafeModelError)


def fixed_shapes(onnx: Any, graph: Any, batch_size: int, label: str) -> tuple[TensorSpec, ...]:
    """Fix the free batch dimensions of a graph's inputs, and give what it then takes.

    Args:
        onnx: The module ``onnx``.
        graph: The graph, which is changed.
        batch_size: Examples per inference.
        label: The runtime's, for messages.

    Raises:
        UnsupportedModelError: Another dimension is free.
    """
    held = {tensor.name for tensor in graph.initializer}
    found = []
    for value in graph.input:
        if value.name in held:
            continue
        dims = value.type.tensor_type.shape.dim
        if free := [axis for axis, dim in enumerate(dims) if axis and dim.dim_value < 1]:
            raise UnsupportedModelError(
                f"{label} compiles for fixed sizes: input {value.name!r} leaves dimension {free[0]} free.",
                remedy="export the model with fixed sizes besides the batch, or choose another runtime.",
            )
        if len(dims) and dims[0].dim_value < 1:
            dims[0].dim_value = batch_size
        found.append(_spec(onnx, value))
    return tuple(found)


def outputs_of(onnx: Any, graph: Any, shapes: Iterable[Sequence[int] | None]) -> tuple[TensorSpec, ...]:
    """What a graph gives, with the shapes that were found when it was compiled."""
    return tuple(
        TensorSpec(value.name, tuple(shape) if shape is not None else None, _spec(onnx, value).dtype)
        for value, shape in zip(graph.output, shapes, strict=True)
    )


def _spec(onnx: Any, value: Any) -> TensorSpec:
    tensor = value.type.tensor_type
    shape = tuple(int(dim.dim_value) or None for dim in tensor.shape.dim)
    return TensorSpec(value.name, shape, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name)

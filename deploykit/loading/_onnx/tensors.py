"""Checks the tensors of an ONNX model before any runtime sees them, and where their values are kept.

External data must be regular files of their own inside the model's folder. ONNX Runtime follows hard links, and maps
the special location of its in-memory tensors to any address, so this walk must come first.
"""

from __future__ import annotations

import math
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from deploykit.core.errors import ModelFileError
from deploykit.core.security.memory import is_linked
from deploykit.readers import onnx_messages
from deploykit.sandbox import gate

_BLOCK = 1 << 24
_AGAIN = "export the model again."
_HOSTILE = "do not use this file; if it is yours, export it again with its data beside it."


@dataclass(frozen=True)
class Stored:
    """A tensor whose place and size have been checked.

    Attributes:
        count: Number of values.
        flaw: ``"NaN"``, ``"infinite values"`` or "".
        file: External file that holds it, "" when it is in the model file.
    """

    count: int
    flaw: str
    file: str


def all_tensors(model: Any) -> Iterator[tuple[Any, bool]]:
    """Every tensor, in subgraphs, functions and training graphs too, and whether it is part of a sparse one."""
    graphs = [model.graph]
    for info in model.training_info:
        graphs += [info.initialization, info.algorithm]
    nodes = [node for function in model.functions for node in function.node]
    attributes = [a for function in model.functions for a in function.attribute_proto]
    while graphs or nodes or attributes:
        for graph in graphs:
            yield from ((tensor, False) for tensor in graph.initializer)
            for sparse in graph.sparse_initializer:
                yield from ((tensor, True) for tensor in (sparse.values, sparse.indices))
            nodes += graph.node
        attributes += [attribute for node in nodes for attribute in node.attribute]
        graphs, nodes = [], []
        for attribute in attributes:
            yield from ((tensor, False) for tensor in attribute.tensors)
            if attribute.HasField("t"):
                yield attribute.t, False
            sparse_ones = [*attribute.sparse_tensors]
            if attribute.HasField("sparse_tensor"):
                sparse_ones.append(attribute.sparse_tensor)
            for sparse in sparse_ones:
                yield from ((tensor, True) for tensor in (sparse.values, sparse.indices))
            graphs += attribute.graphs
            if attribute.HasField("g"):
                graphs.append(attribute.g)
        attributes = []


def check_tensor(tensor: Any, path: Path, *, sparse: bool) -> Stored:
    """Check one tensor's place and size, and look for NaN.

    Raises:
        ModelFileError: Its data are outside the model's folder, too short, or not of the size it claims.
    """
    name = tensor.name or "(unnamed)"
    external = tensor.data_location == onnx_messages.EXTERNAL or len(tensor.external_data) > 0
    if any(d < 0 for d in tensor.dims):
        raise ModelFileError(f"{path}: tensor {name!r} has a negative size {list(tensor.dims)}.", remedy=_AGAIN)
    count = math.prod(tensor.dims)
    if external:
        if sparse:
            raise ModelFileError(f"{path}: the sparse tensor {name!r} has external data.", remedy=_HOSTILE)
        file, offset, length = _place(tensor, path, name, onnx_messages.BITS.get(tensor.data_type, 0))
        return Stored(count, _flaw_outside(tensor, file, offset, length), str(file))
    if tensor.HasField("segment"):
        raise ModelFileError(f"{path}: tensor {name!r} is stored in segments.", remedy=_AGAIN)
    held = _held(tensor)
    if not sparse and held != count:
        raise ModelFileError(
            f"{path}: tensor {name!r} claims {count:,} values (shape {list(tensor.dims)}), the file holds {held:,}.",
            remedy=_AGAIN,
        )
    return Stored(held, _flaw_inside(tensor, held), "")


def _held(tensor: Any) -> int:
    """Number of values a tensor holds in the model file."""
    count = math.prod(tensor.dims)
    if tensor.data_type == onnx_messages.STRING:
        return len(tensor.string_data)
    bits = onnx_messages.BITS.get(tensor.data_type, 0)
    if tensor.HasField("raw_data"):
        if bits == 0:
            return 0
        return count if len(tensor.raw_data) == -(-count * bits // 8) else len(tensor.raw_data) * 8 // bits
    lists = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data)
    held = sum(len(values) for values in lists)
    if tensor.data_type in (onnx_messages.COMPLEX64, onnx_messages.COMPLEX128):
        return held // 2
    return count if bits in (2, 4) and held == -(-count * bits // 8) else held


def _place(tensor: Any, path: Path, name: str, bits: int) -> tuple[Path, int, int]:
    """File, offset and length of external data."""
    entries: dict[str, str] = {}
    for entry in tensor.external_data:
        if entry.key in entries:
            raise ModelFileError(f"{path}: the external data of {name!r} name {entry.key!r} twice.", remedy=_HOSTILE)
        entries[entry.key] = entry.value
    file = _inside(path, name, entries.get("location", ""))
    size = file.stat().st_size
    needed = -(-math.prod(tensor.dims) * bits // 8)
    offset, length = _number(entries, "offset", 0, path, name), _number(entries, "length", needed, path, name)
    if bits and length != needed:
        raise ModelFileError(
            f"{path}: tensor {name!r} needs {needed:,} bytes, its external data claim to have {length:,}.",
            remedy=_HOSTILE,
        )
    if offset + length > size:
        gate.check_text(file, gate.read_head(file))
        raise ModelFileError(
            f"{path}: tensor {name!r} ends at byte {offset + length:,} of {file.name}, which is truncated: it has "
            f"{size:,}.",
            remedy="copy or download the data file again.",
        )
    return file, offset, length


def _inside(path: Path, name: str, location: str) -> Path:
    where = f"{path}: the external data of {name!r}"
    parts = PurePosixPath(location).parts
    if not parts or "\0" in location:
        raise ModelFileError(f"{where} have no location.", remedy=_HOSTILE)
    if location.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", location):
        raise ModelFileError(f"{where} are at an absolute path ({location!r}).", remedy=_HOSTILE)
    if ".." in re.split(r"[/\\]", location):
        raise ModelFileError(f"{where} leave the model's folder ({location!r}).", remedy=_HOSTILE)
    file = path.parent
    for part in parts:
        file = file / part
        try:
            status = file.stat() if is_linked(file) else file.lstat()
        except (OSError, ValueError) as error:
            raise ModelFileError(
                f"{where} are missing: there is no file {location!r} beside the model.",
                remedy="copy the data file, which is part of the model, into the model's folder.",
            ) from error
        if stat.S_ISLNK(status.st_mode):
            raise ModelFileError(
                f"{where} are behind a symbolic link ({part!r}).", remedy="put the real file beside the model."
            )
    if not stat.S_ISREG(status.st_mode):
        raise ModelFileError(f"{where} are in {location!r}, which is not a regular file.", remedy=_HOSTILE)
    if status.st_nlink > 1:
        raise ModelFileError(
            f"{where} are in {location!r}, which is a hard link: the file has {status.st_nlink} names.",
            remedy="put a separate copy beside the model.",
        )
    return file


def _number(entries: dict[str, str], key: str, default: int, path: Path, name: str) -> int:
    text = entries.get(key)
    if text is None or text == "":
        return default
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise ModelFileError(
            f"{path}: the external data of {name!r} have the {key} {text[:40]!r}, which is not a size.", remedy=_HOSTILE
        )
    return int(text)


def _flaw_inside(tensor: Any, held: int) -> str:
    import numpy as np

    if not held:
        return ""
    if tensor.HasField("raw_data"):
        return _judge(np.frombuffer(tensor.raw_data, np.uint8), tensor.data_type)
    if tensor.float_data:
        return _judge(np.asarray(tensor.float_data, np.float32).view(np.uint8), onnx_messages.FLOAT)
    if tensor.double_data:
        return _judge(np.asarray(tensor.double_data, np.float64).view(np.uint8), onnx_messages.DOUBLE)
    if tensor.data_type in (onnx_messages.FLOAT16, onnx_messages.BFLOAT16):
        return _judge(np.asarray(tensor.int32_data, np.int32).astype(np.uint16).view(np.uint8), tensor.data_type)
    return ""


def _flaw_outside(tensor: Any, file: Path, offset: int, length: int) -> str:
    import numpy as np

    with file.open("rb") as stream:
        stream.seek(offset)
        while length > 0:
            block = stream.read(min(length, _BLOCK))
            if not block:
                break
            length -= len(block)
            if flaw := _judge(np.frombuffer(block, np.uint8), tensor.data_type):
                return flaw
    return ""


def _judge(data: Any, data_type: int) -> str:
    """What is wrong with the float values in some bytes."""
    import numpy as np

    kinds = {onnx_messages.FLOAT: "<f4", onnx_messages.DOUBLE: "<f8", onnx_messages.FLOAT16: "<f2"}
    if data_type == onnx_messages.BFLOAT16:  # the upper half of a float32
        values = (data.view("<u2").astype("<u4") << 16).view("<f4")
    elif data_type in kinds:
        values = data.view(kinds[data_type])
    else:
        return ""
    if np.isfinite(values).all():
        return ""
    return "NaN" if np.isnan(values).any() else "infinite values"

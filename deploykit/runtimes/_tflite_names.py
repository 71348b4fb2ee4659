"""How a TFLite file calls its inputs and outputs, and what it keeps from call to call."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

from deploykit.core.protos.messages import message
from deploykit.readers.flatbuffers import FlatbufferError, Table

#: Where files of TensorFlow 1 keep their signatures: fields of the schema's tables.
_SIGNATURES = "signature_defs_metadata"
_BUFFERS, _METADATA = 4, 6
#: Types of a flexible buffer.
_MAP, _TEXT = 9, 5


def signature_names(interpreter: Any, source: Path | bytes) -> tuple[list[str], list[str]]:
    """Names of inputs and outputs in the file's order: those of its only signature, else those of the tensors."""
    sides = interpreter.get_input_details(), interpreter.get_output_details()
    signatures = list(interpreter.get_signature_list())
    if not signatures:
        first, second = _older_names(source)
        return _renamed(sides[0], first), _renamed(sides[1], second)
    if len(signatures) != 1:
        return _renamed(sides[0], {}), _renamed(sides[1], {})
    runner = interpreter.get_signature_runner(signatures[0])
    known = runner.get_input_details(), runner.get_output_details()
    return _named(sides[0], known[0]), _named(sides[1], known[1])


def _older_names(source: Path | bytes) -> tuple[dict[str, str], dict[str, str]]:
    """Names in the only signature by those of tensors, from the metadata of a file of TensorFlow 1; none without it.

    Source: ``GetSignatureDefMap`` of TensorFlow's signature_def_util.cc: a flexible buffer with a map from names to
    messages.
    """
    if (content := _metadata(source)) is None:
        return {}, {}
    from google.protobuf.message import DecodeError

    try:
        found = message("tensorflow.SignatureDef").FromString(_only_text(content))
    except (IndexError, ValueError, DecodeError):
        return {}, {}
    sides = found.inputs, found.outputs
    inputs, outputs = ({info.name.partition(":")[0]: str(name) for name, info in side.items()} for side in sides)
    return inputs, outputs


def _only_text(data: bytes) -> bytes:
    """The value of a flexible buffer that is a map with one text.

    Source: FlexBuffers' internals: the root stands at the end, before its type and width; offsets lead back; the types
    of a map's values stand behind them.

    Raises:
        ValueError: It is something else.
    """

    def number(at: int, width: int) -> int:
        if at < 0 or at + width > len(data):
            raise ValueError("an offset leaves the buffer")
        return int.from_bytes(data[at : at + width], "little")

    kind, root = data[-2], len(data) - 2 - data[-1]
    width, at = 1 << (kind & 3), root - number(root, data[-1])
    if kind >> 2 != _MAP or number(at - width, width) != 1:
        raise ValueError("not a map with one value")
    kind, at = data[at + width], at - number(at, width)
    width = 1 << (kind & 3)
    if kind >> 2 != _TEXT:
        raise ValueError("not a text")
    return data[at : at + number(at - width, width)]


def _metadata(source: Path | bytes) -> bytes | None:
    """The bytes of the signatures; None if there are none."""
    if isinstance(source, bytes):
        return _found(source)
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return _found(mapped)


def _found(content: bytes | mmap.mmap) -> bytes | None:
    if content.find(_SIGNATURES.encode()) < 0:
        return None
    data = memoryview(content)
    try:
        root = Table.root(data)
        place = next(t.number(1, "I") for t in root.tables(_METADATA) if t.text(0) == _SIGNATURES)
        start, size = list(root.tables(_BUFFERS))[place].span(0, 1) or (0, 0)
        return bytes(data[start : start + size])
    except (StopIteration, IndexError, FlatbufferError):
        return None
    finally:
        data.release()


def _renamed(details: list[dict[str, Any]], names: dict[str, str]) -> list[str]:
    return [names.get(str(d["name"]).partition(":")[0], str(d["name"])) for d in details]


def _named(details: list[dict[str, Any]], known: dict[str, dict[str, Any]]) -> list[str]:
    left = [(int(entry["index"]), str(name)) for name, entry in known.items()]
    names = []
    for detail in details:
        found = next((entry for entry in left if entry[0] == int(detail["index"])), None)
        names.append(found[1] if found else str(detail["name"]))
        if found:  # one tensor may be two outputs
            left.remove(found)
    return names


def written_variables(operators: list[dict[str, Any]]) -> list[int]:
    """Tensors that stand for variables which a run changes: all but those that are only read.

    Args:
        operators: What the interpreter tells of its operators.
    """
    handles = {int(i) for op in operators if op["op_name"] == "VAR_HANDLE" for i in op["outputs"]}
    users = [op for op in operators if op["op_name"] not in ("READ_VARIABLE", "VAR_HANDLE", "DELEGATE")]
    return sorted({int(i) for op in users for i in op["inputs"]} & handles)

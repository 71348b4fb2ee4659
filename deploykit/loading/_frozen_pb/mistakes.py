"""Files that are passed in place of a frozen graph, told apart by their content."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from deploykit.core.errors import ModelFileError
from deploykit.readers.protobuf import BYTES, WireError, fields

_SHARD = re.compile(r"\.data-\d{5}-of-\d{5}$")
#: The last bytes of a checkpoint's index.
_INDEX_MAGIC = bytes.fromhex("57fb808b247547db")
_TEXT = re.compile(rb"\s*(?:#[^\n]*\s*)*(?:node|versions|library)\s*\{")
_OPERATOR = re.compile(rb"[A-Za-z_][A-Za-z0-9_>.]*")
_FREEZE = "export it as a SavedModel folder, or freeze the graph together with its checkpoint into one .pb file."


def begins_with_node(head: bytes) -> bool:
    """Whether a file begins with a node of a graph: a message with a name and an operator, in this order."""
    found = list(_first_fields(head))
    return (
        len(found) >= 2
        and [number for number, _ in found[:2]] == [1, 2]
        and bool(found[0][1])
        and _OPERATOR.fullmatch(found[1][1]) is not None
    )


def mistake(path: Path, head: bytes) -> ModelFileError | None:
    """What a file is that belongs to a model of TensorFlow and is not a frozen graph; None for any other."""
    found = _kind(path, head)
    return None if found is None else ModelFileError(f"{path}: this is {found[0]}.", remedy=found[1])


def _kind(path: Path, head: bytes) -> tuple[str, str] | None:
    if head.startswith(b"model_checkpoint_path:"):
        return "the list of a folder's checkpoints, not a model", _FREEZE
    if _TEXT.match(head):
        return "a graph in protobuf's text form, which holds no weights of any size", _FREEZE
    if _SHARD.search(path.name):
        return "a checkpoint's values, without the graph that uses them", _FREEZE
    if [number for number, _ in _first_fields(head)][:1] in ([1], [2]) and head[:1] == b"\x0a":
        return "a checkpoint's graph (a MetaGraph, .meta), whose weights are in other files", _FREEZE
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(_INDEX_MAGIC)))
        if file.read() == _INDEX_MAGIC:
            return "a checkpoint's index, which holds neither graph nor values", _FREEZE
    return None


def _first_fields(head: bytes) -> Iterator[tuple[int, bytes]]:
    """Numbers and contents of the first fields within the first field, as far as they are strings."""
    if head[:1] != b"\x0a":
        return
    inner = memoryview(head)[1:]
    try:
        while inner[0] >= 0x80:  # its length, which may lead beyond the head
            inner = inner[1:]
        for number, wire, value in fields(inner[1:]):
            if wire != BYTES or not isinstance(value, memoryview):
                return
            yield number, bytes(value)
    except (WireError, IndexError):
        return

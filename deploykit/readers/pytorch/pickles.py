"""What a pickle names and holds, by its opcodes: nothing of it is ever run."""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from typing import Any

#: Most bytes that are looked at.
LIMIT_BYTES = 4 << 20
#: What checkpoints of tensors name.
_PLAIN = ("torch._utils", "torch.storage", "torch.serialization", "collections", "torch")


def opcodes(data: bytes) -> Iterator[tuple[str, Any]]:
    """Names and arguments of the opcodes; ends where the pickle is damaged."""
    try:
        for opcode, argument, _ in pickletools.genops(data[:LIMIT_BYTES]):
            yield opcode.name, argument
    except (ValueError, IndexError, UnicodeError, OverflowError, MemoryError):
        return


def classes(data: bytes) -> list[str]:
    """Dotted names of the classes and functions that unpickling would import and call, but for those of tensors."""
    found: dict[str, None] = {}
    texts: list[str] = []
    for name, argument in opcodes(data):
        if name == "GLOBAL":
            module, _, own = str(argument).partition(" ")
        elif name == "STACK_GLOBAL" and len(texts) > 1:
            module, own = texts[-2:]
        else:
            if isinstance(argument, str):
                texts = [*texts[-1:], argument]
            continue
        if module not in _PLAIN:
            found[f"{module}.{own}"] = None
    return list(found)


def described(data: bytes) -> str:
    """What a checkpoint is, in words, by its main pickle."""
    known = classes(data)
    if not known:
        return "a PyTorch checkpoint of weights (a state dict), which has no graph"
    shown = ", ".join(known[:3]) + (", …" if len(known) > 3 else "")
    return f"a pickled PyTorch object ({shown})"


def shapes(data: bytes) -> list[tuple[str, tuple[int, ...]]]:
    """Types of storage and shapes of the tensors of a pickle, in order.

    A tensor is pickled as a call of ``torch._utils._rebuild_tensor_v2`` with its storage, offset, shape and strides.
    """
    found: list[tuple[str, tuple[int, ...]]] = []
    storage = ""
    tuples: list[tuple[int, ...]] = []
    numbers: list[int] = []
    inside = False
    for name, argument in opcodes(data):
        if name == "GLOBAL" and str(argument).startswith("torch ") and str(argument).endswith("Storage"):
            storage = str(argument).partition(" ")[2]
        elif name == "BINPERSID":
            inside, tuples, numbers = True, [], []
        elif inside and name in ("MARK", "EMPTY_TUPLE"):
            tuples += [()] if name == "EMPTY_TUPLE" else []
            numbers = []
        elif inside and name in ("BININT", "BININT1", "BININT2", "LONG1"):
            numbers.append(int(argument))
        elif inside and name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
            count = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}.get(name, len(numbers))
            tuples.append(tuple(numbers[-count:]))
            numbers = []
        if inside and tuples:
            found.append((storage, tuples[0]))
            inside = False
    return found

"""The constants of a graph: its weights, checked before anything expands them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import ModelFileError
from deploykit.loading._saved_model.graph import MetaGraph, Node, message
from deploykit.readers.protobuf import fields
from deploykit.readers.tensorflow import read_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: A file has at most 2 GB; a constant that repeats one value may say that it is larger, and is refused.
MAX_BYTES = 2 << 30
#: Fields of a TensorProto: bytes, and real numbers one by one.
_CONTENT = 4
_LISTED = {"float16": 13, "float32": 5, "float64": 6}
#: Bytes of a number; others are taken for the widest.
_WIDTHS = {
    "float16": 2, "bfloat16": 2, "float32": 4, "int32": 4, "uint32": 4, "int16": 2, "uint16": 2, "int8": 1, "uint8": 1,
    "bool": 1,
}  # fmt: skip
_STORED = {"float16": "<f2", "float32": "<f4", "float64": "<f8"}


@dataclass(frozen=True)
class Constant:
    """A constant of real numbers.

    Attributes:
        name: Of its node.
        dtype: ``"float16"``, ``"float32"`` or ``"float64"``.
        shape: Its dimensions.
        tensor: The TensorProto.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    tensor: memoryview

    def values(self) -> NDArray[Any]:
        """Its numbers; where the file holds fewer, the last one is repeated, as TensorFlow does."""
        import numpy as np

        stored, count = _STORED[self.dtype], math.prod(self.shape)
        found = np.frombuffer(_joined(self.tensor, _CONTENT), stored)
        if not found.size:
            listed = _joined(self.tensor, _LISTED[self.dtype])
            found = _halves(listed) if self.dtype == "float16" else np.frombuffer(listed, stored)
        if found.size < count:
            found = np.concatenate([found, np.full(count - found.size, found[-1] if found.size else 0, stored)])
        return found[:count].reshape(self.shape)

    def flaw(self) -> str:
        """``"NaN"``, ``"infinite values"`` or ""."""
        import numpy as np

        values = self.values()
        return "" if np.isfinite(values).all() else "NaN" if np.isnan(values).any() else "infinite values"


def check_sizes(meta: MetaGraph, shown: str) -> None:
    """Refuse constants that TensorFlow would need more memory for than they are worth.

    Raises:
        ModelFileError: As `constants`.
    """
    for _ in constants(meta, shown):
        pass


def constants(meta: MetaGraph, shown: str) -> Iterator[Constant]:
    """The constants of real numbers, those of functions included.

    Raises:
        ModelFileError: One of any type has impossible dimensions, or a size that its values do not account for.
    """
    functions = (node for function in meta.functions.values() for node in function.nodes)
    for node in (*meta.nodes.values(), *functions):
        if node.op == "Const" and (found := _constant(node, shown)) is not None:
            yield found


def _constant(node: Node, shown: str) -> Constant | None:
    tensors = message(node.attributes.get("value", memoryview(b"")))[8]
    shapes = message(tensors[-1])[2] if tensors else []
    shape, dtype = read_shape(shapes[-1]) if shapes else (), node.dtype()
    if shape is None or None in shape:
        raise ModelFileError(
            f"{shown}: the constant {node.name!r} has a dimension below zero.", remedy="export the model again."
        )
    sizes = tuple(int(size or 0) for size in shape)
    claimed = math.prod(sizes) * _WIDTHS.get(dtype, 8)
    content = sum(len(value) for value in message(tensors[-1])[_CONTENT]) if tensors else 0
    if claimed > MAX_BYTES or (content and dtype in _STORED and content != claimed):
        raise ModelFileError(
            f"{shown}: the constant {node.name!r} claims {claimed:,} bytes ({' × '.join(map(str, sizes))} {dtype}), "
            f"and the file holds {content:,} for it.",
            remedy="it is damaged or forged: download or export it again.",
        )
    return Constant(node.name, dtype, sizes, tensors[-1]) if dtype in _STORED and tensors else None


def _joined(tensor: memoryview, field: int) -> bytes:
    """What the parts of a field hold, packed or one by one."""
    return b"".join(bytes(v) for number, _, v in fields(tensor) if number == field and isinstance(v, memoryview))


def _halves(packed: bytes) -> NDArray[Any]:
    """Float16 numbers, which are kept as the varints of their bits."""
    import numpy as np

    data = np.frombuffer(packed, np.uint8)
    last = np.flatnonzero(data < 0x80)
    first = np.concatenate([[0], last[:-1] + 1]) if last.size else last
    bits = np.zeros(last.size, np.uint32)
    for place in range(3):
        there = first + place <= last
        bits[there] |= (data[first[there] + place].astype(np.uint32) & 0x7F) << (7 * place)
    return bits.astype(np.uint16).view(np.float16)

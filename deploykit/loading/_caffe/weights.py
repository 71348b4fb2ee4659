"""The weights in a ``.caffemodel``: a NetParameter, of which only layers and their blobs are read.

Field numbers are those of caffe.proto: NetParameter (layers 2, layer 100), V1LayerParameter (name 4, blobs 6),
LayerParameter (name 1, blobs 7), BlobProto (shape 7, data 5, double_data 8; before: num 1, channels 2, height 3,
width 4).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.readers.protobuf import BYTES, FIXED32, FIXED64, VARINT, WireError, fields, signed, text

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_RANK = 32
_LAYERS = {2: (4, 6), 100: (1, 7)}


@dataclass(frozen=True)
class Blob:
    """The values of a parameter.

    Attributes:
        shape: Its dimensions as the file has them; old files have always four.
        parts: The values in order, as the file holds them.
        stored: ``"<f4"`` or ``"<f8"``.
    """

    shape: tuple[int, ...]
    parts: tuple[memoryview, ...]
    stored: str

    @property
    def count(self) -> int:
        """Number of values."""
        return sum(len(part) for part in self.parts) // int(self.stored[-1])

    def values(self) -> NDArray[Any]:
        """The values as float32."""
        import numpy as np

        joined = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        return np.frombuffer(joined, self.stored).astype(np.float32, copy=False).reshape(self.shape)


def read_weights(data: memoryview) -> dict[str, tuple[Blob, ...]]:
    """The blobs of each layer that has some, by the layer's name.

    Raises:
        WireError: Truncated, or the number of a blob's values is not that of its shape.
    """
    found: dict[str, tuple[Blob, ...]] = {}
    for number, wire, value in fields(data):
        if number not in _LAYERS or wire != BYTES or not isinstance(value, memoryview):
            continue
        name_field, blobs_field = _LAYERS[number]
        name, blobs = "", []
        for inner, kind, part in fields(value):
            if inner == name_field and kind == BYTES:
                name = text(part)
            elif inner == blobs_field and isinstance(part, memoryview):
                blobs.append(_blob(part, name))
        if blobs:
            if name in found:
                raise WireError(f"two layers are called {name!r}")
            found[name] = tuple(blobs)
    return found


def weights_for(data: memoryview, layers: Collection[str]) -> Iterator[bytes | memoryview]:
    """The parts of a file with the weights of these layers only, as they are.

    Raises:
        WireError: Truncated.
    """
    for number, wire, value in fields(data):
        if number not in _LAYERS or wire != BYTES or not isinstance(value, memoryview):
            continue
        name_field, _ = _LAYERS[number]
        names = [text(part) for inner, kind, part in fields(value) if inner == name_field and kind == BYTES]
        if names[-1:] and names[-1] in layers:
            yield _varint(number << 3 | BYTES) + _varint(len(value))
            yield value


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _blob(data: memoryview, layer: str) -> Blob:
    shape: list[int] | None = None
    before = {1: 1, 2: 1, 3: 1, 4: 1}
    parts: dict[int, list[memoryview]] = {5: [], 8: []}
    for number, wire, value in fields(data):
        if number == 7 and isinstance(value, memoryview):
            shape = _dims(value)
        elif number in before and wire == VARINT and isinstance(value, int):
            before[number] = signed(value)
        elif number in parts and wire in (BYTES, FIXED32, FIXED64) and isinstance(value, memoryview):
            parts[number].append(value)
    sizes = tuple(shape if shape is not None else before.values())
    used = 5 if parts[5] or not parts[8] else 8
    blob = Blob(sizes, tuple(parts[used]) or (memoryview(b""),), "<f4" if used == 5 else "<f8")
    if any(size < 0 for size in sizes) or math.prod(sizes) != blob.count:
        raise WireError(
            f"a blob of the layer {layer!r} has {blob.count:,} values for a shape of {' × '.join(map(str, sizes[:8]))}"
        )
    return blob


def _dims(data: memoryview) -> list[int]:
    """A BlobShape: numbers one by one, or packed."""
    found: list[int] = []
    for number, wire, value in fields(data):
        if number == 1 and wire == VARINT and isinstance(value, int):
            found.append(signed(value))
        elif number == 1 and isinstance(value, memoryview):
            size = shift = 0
            for byte in value:
                size |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    found.append(signed(size & (1 << 64) - 1))
                    size = shift = 0
                if shift > 63:
                    raise WireError("a dimension of more than 64 bits")
        if len(found) > _MAX_RANK:
            raise WireError(f"a blob has more than {_MAX_RANK} dimensions")
    return found

"""Tensors of the Open Inference Protocol v2: datatypes, and the binary extension's buffers.

Source: KServe's open-inference-protocol, and Triton's binary tensor data extension, which clients use in practice.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import RequestError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Header that gives the length of the JSON part of a body with binary tensors.
JSON_LENGTH = "Inference-Header-Content-Length"

#: NumPy name → datatype on the wire.
DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "string": "BYTES",
}
DTYPES = {wire: name for name, wire in DATATYPES.items()}
#: What NumPy has no type for: the upper half of a float32. It arrives as that; JSON cannot hold it.
BF16 = "BF16"
#: Most dimensions of an array in NumPy, and most elements that its sizes may amount to, empty ones left out.
MOST_DIMENSIONS, _MOST_ELEMENTS = 64, 1 << 48
_LITTLE = sys.byteorder == "little"


def datatype(array: NDArray[Any]) -> str:
    """The wire's name of an array's dtype.

    Raises:
        RequestError: The protocol has none for it.
    """
    return _datatype(array.dtype)


@cache
def _datatype(dtype: Any) -> str:
    if dtype.kind in "SUO":
        return "BYTES"
    if dtype.name not in DATATYPES:
        raise RequestError(
            f"The protocol has no datatype for {dtype}; it has {', '.join(DATATYPES)}.", remedy="convert the array."
        )
    return DATATYPES[dtype.name]


def plain(dtype: Any) -> bool:
    """Whether the bytes of numbers are on the wire as they are in memory."""
    return _LITTLE and dtype.isnative and dtype.kind not in "SUO"


def to_bytes(array: NDArray[Any]) -> bytes:
    """Little-endian, row-major; text as a 4-byte length and UTF-8 for each element, bytes as they are."""
    dtype = array.dtype
    if plain(dtype):
        return array.tobytes()
    if dtype.kind in "SUO":
        texts = (v if isinstance(v, bytes) else str(v).encode() for v in array.ravel().tolist())
        return b"".join(struct.pack("<I", len(t)) + t for t in texts)
    return array.astype(dtype.newbyteorder("<")).tobytes()


def check_sizes(shape: Sequence[int]) -> None:
    """Raise `ValueError` unless there can be an array of a shape, empty or not."""
    if len(shape) > MOST_DIMENSIONS:
        raise ValueError(f"expected a shape of at most {MOST_DIMENSIONS} dimensions, got {len(shape)}")
    if math.prod(size or 1 for size in shape) > _MOST_ELEMENTS:
        raise ValueError(f"expected a shape of at most {_MOST_ELEMENTS:,} elements, got one with sizes beyond that")


def from_bytes(data: bytes | memoryview, wire: str, shape: Sequence[int]) -> NDArray[Any]:
    """The array in a buffer: BYTES as text where they are UTF-8, else as bytes; BF16 as float32.

    Raises:
        ValueError: There is no array of that shape, the buffer's length does not fit datatype and shape, or a truth
            value is neither 0 nor 1.
    """
    import numpy as np

    check_sizes(shape)
    count = math.prod(shape)
    if wire == BF16:
        if len(data) != 2 * count:
            raise ValueError(f"{wire} of shape {list(shape)} needs {2 * count} bytes, got {len(data)}")
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    if wire == "BYTES":
        return objects(_texts(data, count)).reshape(shape)
    dtype = np.dtype(DTYPES[wire]).newbyteorder("<")
    if len(data) != count * dtype.itemsize:
        raise ValueError(f"{wire} of shape {list(shape)} needs {count * dtype.itemsize} bytes, got {len(data)}")
    if dtype.kind == "b" and (odd := next((b for b in bytes(data) if b > 1), 0)):
        raise ValueError(f"{wire} is 0 or 1 in each byte, got {odd}")
    return np.frombuffer(data, dtype).reshape(shape)


def objects(values: Sequence[Any]) -> NDArray[Any]:
    """Text and bytes, shape (values,): a fixed width would cut zero bytes off their ends."""
    import numpy as np

    found = np.empty(len(values), object)
    found[:] = values
    return found


def text_or_bytes(data: bytes) -> str | bytes:
    """Text where bytes are UTF-8; others stay what they are."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _texts(data: bytes | memoryview, count: int) -> list[str | bytes]:
    view, position = memoryview(data), 0
    found: list[str | bytes] = []
    while position < len(view):
        if position + 4 > len(view):
            raise ValueError("a BYTES element is cut off")
        (length,) = struct.unpack_from("<I", view, position)
        position += 4
        if position + length > len(view):
            raise ValueError(f"a BYTES element of {length} bytes is cut off")
        found.append(text_or_bytes(bytes(view[position : position + length])))
        position += length
    if len(found) != count:
        raise ValueError(f"BYTES with {count} elements expected, got {len(found)}")
    return found

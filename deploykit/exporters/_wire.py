"""Tensors of the Open Inference Protocol v2: datatypes, and the binary extension's buffers.

Source: KServe's open-inference-protocol, and Triton's binary tensor data extension, which clients use in practice.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

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


def datatype(array: NDArray[Any]) -> str:
    """The wire's name of an array's dtype."""
    return _datatype(array.dtype)


@cache
def _datatype(dtype: Any) -> str:
    return "BYTES" if dtype.kind in "SUO" else DATATYPES[dtype.name]


def to_bytes(array: NDArray[Any]) -> bytes:
    """Little-endian, row-major; text as a 4-byte length and UTF-8 for each element."""
    import numpy as np

    if array.dtype.kind in "SUO":
        texts = (v if isinstance(v, bytes) else str(v).encode() for v in array.ravel().tolist())
        return b"".join(struct.pack("<I", len(t)) + t for t in texts)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def from_bytes(data: bytes | memoryview, wire: str, shape: Sequence[int]) -> NDArray[Any]:
    """The array in a buffer.

    Raises:
        ValueError: The buffer's length does not fit datatype and shape.
    """
    import numpy as np

    count = math.prod(shape)
    if wire == "BYTES":
        return np.array(_texts(data, count), object).reshape(shape)
    dtype = np.dtype(DTYPES[wire]).newbyteorder("<")
    if len(data) != count * dtype.itemsize:
        raise ValueError(f"{wire} of shape {list(shape)} needs {count * dtype.itemsize} bytes, got {len(data)}")
    return np.frombuffer(data, dtype).reshape(shape)


def _texts(data: bytes | memoryview, count: int) -> list[str]:
    view, found, position = memoryview(data), [], 0
    while position < len(view):
        if position + 4 > len(view):
            raise ValueError("a BYTES element is cut off")
        (length,) = struct.unpack_from("<I", view, position)
        position += 4
        if position + length > len(view):
            raise ValueError(f"a BYTES element of {length} bytes is cut off")
        found.append(bytes(view[position : position + length]).decode("utf-8", "replace"))
        position += length
    if len(found) != count:
        raise ValueError(f"BYTES with {count} elements expected, got {len(found)}")
    return found

"""Types and shapes of tensors as TensorFlow's protobuf messages have them."""

from __future__ import annotations

from deploykit.readers.protobuf import fields, signed

#: TensorFlow's type numbers → NumPy names.
DTYPES = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    8: "complex64",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    17: "uint16",
    18: "complex128",
    19: "float16",
    22: "uint32",
    23: "uint64",
}

Shape = tuple[int | None, ...]


def read_shape(data: memoryview) -> Shape | None:
    """A TensorShapeProto; None when the rank is unknown."""
    dims: list[int | None] = []
    for number, _, value in fields(data):
        if number == 3 and value:
            return None
        if number == 2 and isinstance(value, memoryview):
            size = 0
            for inner, _, given in fields(value):
                if inner == 1 and isinstance(given, int):
                    size = signed(given)
            dims.append(None if size < 0 else size)
    return tuple(dims)

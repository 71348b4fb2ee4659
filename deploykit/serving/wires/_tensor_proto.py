"""``tensorflow.TensorProto`` to and from NumPy, without TensorFlow.

Source: TensorFlow's tensor.proto and what ``Tensor::FromProto`` does: values are bytes or a list in the field of their
type, and a list that is too short is filled up with its last value.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from deploykit.artifacts.wire import objects, text_or_bytes
from deploykit.core.model import TensorSpec
from deploykit.core.protos.messages import message
from deploykit.serving.faults import InvalidInputError
from deploykit.serving.tensors import check_shape, converted

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Type(NamedTuple):
    """A data type.

    Attributes:
        number: Its value in ``tensorflow.DataType``.
        dtype: NumPy's name, or "bfloat16".
        field: Where a list of values stands.
    """

    number: int
    dtype: str
    field: str


_TYPES = (
    _Type(1, "float32", "float_val"),
    _Type(2, "float64", "double_val"),
    _Type(3, "int32", "int_val"),
    _Type(4, "uint8", "int_val"),
    _Type(5, "int16", "int_val"),
    _Type(6, "int8", "int_val"),
    _Type(7, "string", "string_val"),
    _Type(9, "int64", "int64_val"),
    _Type(10, "bool", "bool_val"),
    _Type(14, "bfloat16", "half_val"),
    _Type(17, "uint16", "int_val"),
    _Type(19, "float16", "half_val"),
    _Type(22, "uint32", "uint32_val"),
    _Type(23, "uint64", "uint64_val"),
)
_BY_NUMBER = {one.number: one for one in _TYPES}
_BY_DTYPE = {one.dtype: one for one in _TYPES}
#: Types whose lists are whole numbers that must fit, since the field holds larger ones.
_NARROW = ("int8", "int16", "uint8", "uint16")
#: Key of the field with packed numbers: they can be written as they lie in memory.
_PACKED = {"float32": b"\x2a", "float64": b"\x32"}
#: Most dimensions of an array in NumPy.
_MOST_DIMENSIONS = 64


def number(dtype: str) -> int:
    """The value of ``tensorflow.DataType``, 0 (invalid) if it has none."""
    found = _BY_DTYPE.get(dtype)
    return found.number if found else 0


def read_tensor(proto: Any, spec: TensorSpec, *, real: str, limit: int) -> NDArray[Any]:
    """An input's examples.

    Args:
        proto: The message.
        spec: The input.
        real: See `deploykit.serving.tensors.converted`.
        limit: Most bytes that a short list may be filled up to.

    Raises:
        InvalidInputError: It is not a tensor, or does not fit the input.
    """
    where = f"Input {spec.name!r}"
    kind = _BY_NUMBER.get(proto.dtype)
    text = spec.dtype == "string"
    if kind is None or (kind.dtype == "string") != text or (kind.dtype == "bool") != (spec.dtype == "bool"):
        got = f"DT_{kind.dtype.upper()}" if kind else f"type {proto.dtype}"
        raise InvalidInputError(f"{where}: expected {spec.dtype}, got {got}.")
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or min(shape, default=0) < 0 or len(shape) > _MOST_DIMENSIONS:
        raise InvalidInputError(f"{where}: expected a shape of at most {_MOST_DIMENSIONS} known sizes.")
    check_shape(shape, spec)
    array = (_from_bytes if proto.tensor_content else _from_list)(proto, kind, shape, where, limit).reshape(shape)
    return array if text or kind.dtype == spec.dtype else converted(array, spec, real=real)


def write_tensor(array: NDArray[Any]) -> Any:
    """The message of an output: a list in the field of its type, as TensorFlow Serving answers."""
    dtype = "string" if array.dtype.kind in "SUO" else array.dtype.name
    kind = _BY_DTYPE[dtype]
    proto = message("tensorflow.TensorProto")(dtype=kind.number)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if dtype in _PACKED:
        data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        proto.MergeFromString(_PACKED[dtype] + _varint(len(data)) + data)
        return proto
    if dtype == "string":
        values = [v if isinstance(v, bytes) else str(v).encode() for v in array.ravel().tolist()]
    elif dtype == "float16":
        values = array.ravel().view("uint16").tolist()
    else:
        values = array.ravel().tolist()
    getattr(proto, kind.field).extend(values)
    return proto


def _from_bytes(proto: Any, kind: _Type, shape: tuple[int, ...], where: str, _: int) -> NDArray[Any]:
    import numpy as np

    if kind.dtype == "string":
        raise InvalidInputError(f"{where}: expected text in string_val, got tensor_content.")
    dtype = np.dtype("uint16" if kind.dtype == "bfloat16" else kind.dtype).newbyteorder("<")
    size = math.prod(shape) * dtype.itemsize
    if len(proto.tensor_content) != size:
        got = len(proto.tensor_content)
        raise InvalidInputError(f"{where}: tensor_content of shape {list(shape)} needs {size} bytes, got {got}.")
    if kind.dtype == "bool":
        raw = np.frombuffer(proto.tensor_content, np.uint8)
        if raw.size and raw.max() > 1:
            raise InvalidInputError(f"{where}: expected 0 or 1 in each byte of tensor_content, got {raw.max()}.")
    array = np.frombuffer(proto.tensor_content, dtype)
    return _widened(array) if kind.dtype == "bfloat16" else array


def _from_list(proto: Any, kind: _Type, shape: tuple[int, ...], where: str, limit: int) -> NDArray[Any]:
    import numpy as np

    values = getattr(proto, kind.field)
    size = math.prod(shape)
    if not values and (others := [field.name for field, _ in proto.ListFields() if field.name.endswith("_val")]):
        raise InvalidInputError(f"{where}: expected values of {kind.dtype} in {kind.field}, got {', '.join(others)}.")
    if len(values) > size:
        raise InvalidInputError(
            f"{where}: {kind.field} of shape {list(shape)} holds at most {size} values, got {len(values)}."
        )
    if size * 8 > limit and len(values) < size:
        raise InvalidInputError(
            f"{where}: shape {list(shape)} has {size} values, of which {kind.field} holds {len(values)}; so many are "
            "not filled up: send all values."
        )
    if kind.dtype == "string":
        texts: list[str | bytes] = [text_or_bytes(value) for value in values]
        return objects(texts + (texts[-1:] or [""]) * (size - len(texts)))
    if kind.field == "half_val":
        array = _fitting(values, "uint16", where).view(np.float16 if kind.dtype == "float16" else np.uint16)
        array = _widened(array) if kind.dtype == "bfloat16" else array
    elif kind.dtype in _NARROW:
        array = _fitting(values, kind.dtype, where)
    else:
        array = np.fromiter(values, kind.dtype, len(values))
    if len(array) < size:
        array = np.pad(array, (0, size - len(array)), "edge" if len(array) else "constant")
    return array


def _fitting(values: Any, dtype: str, where: str) -> NDArray[Any]:
    import numpy as np

    found = np.fromiter(values, np.int64, len(values))
    limits = np.iinfo(dtype)
    if found.size and (found.min() < limits.min or found.max() > limits.max):
        odd = found[(found < limits.min) | (found > limits.max)][0]
        raise InvalidInputError(f"{where}: expected {dtype} ({limits.min} to {limits.max}), got {odd}.")
    return found.astype(dtype)


def _widened(halves: NDArray[Any]) -> NDArray[Any]:
    """Float32 of bfloat16, which are the upper halves of these."""
    import numpy as np

    return (halves.astype(np.uint32) << 16).view(np.float32)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)

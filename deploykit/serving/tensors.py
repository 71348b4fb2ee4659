"""Tensors between JSON and NumPy: fast for what is right, exact about what is wrong."""

from __future__ import annotations

import base64
import binascii
import math
import struct
from itertools import chain
from typing import TYPE_CHECKING, Any

from deploykit.core.model import TensorSpec
from deploykit.serving.faults import BadRequestError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: NumPy name → format character of struct; it would take anything for a truth value, so that is not in it.
_CODES = {
    "float16": "e",
    "float32": "f",
    "float64": "d",
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
}
_KINDS = {"f": "real numbers", "i": "whole numbers", "u": "whole numbers", "b": "true or false", "U": "text"}


def from_lists(value: Any, spec: TensorSpec, shape: tuple[int, ...] | None = None) -> NDArray[Any]:
    """An array of the spec's dtype from nested JSON lists.

    Args:
        value: Nested lists, batch first.
        spec: The input.
        shape: Shape given apart, for data that may be flat.

    Raises:
        BadRequestError: Ragged lists, values of another kind or out of range.
    """
    if spec.dtype == "string":
        value = _decode_texts(value, spec)
    flat, found = _flatten(value, spec)
    array = _cast(flat, spec)
    if shape is not None and found != shape:
        if len(found) > 1 or array.size != math.prod(shape):
            raise BadRequestError(f"input {spec.name!r}: expected data of shape {_show(shape)}, got {_show(found)}.")
        found = shape
    return array.reshape(found)


def to_lists(name: str, array: NDArray[Any]) -> Any:
    """Nested JSON lists of an output; bytes as ``{"b64": …}`` when its name ends in ``_bytes``."""
    if array.dtype.kind not in "SUO":
        return array.tolist()
    return _encode_texts(array.tolist(), as_bytes=name.endswith("_bytes"))


def check_shape(found: tuple[int, ...], spec: TensorSpec) -> None:
    """Raise `BadRequestError` unless a shape fits the spec, batch first."""
    wanted = spec.shape
    if wanted is None or found == wanted:
        return
    if len(found) == len(wanted) and all(w is None or w == f for w, f in zip(wanted, found, strict=True)):
        return
    hint = " The first dimension is the batch: send a list of examples." if len(found) == len(wanted) - 1 else ""
    raise BadRequestError(
        f"input {spec.name!r}: expected shape {_show(('batch', *wanted[1:]))}, got {_show(found)}.{hint}"
    )


def _flatten(value: Any, spec: TensorSpec) -> tuple[list[Any], tuple[int, ...]]:
    """All values in order, and the shape."""
    if not isinstance(value, list):
        return [value], ()
    shape = [len(value)]
    level = value
    while level and type(level[0]) is list:
        try:
            lengths = set(map(len, level))
            level = list(chain.from_iterable(level))
        except TypeError:
            lengths = {-1, 0}
        if len(lengths) != 1:
            raise _ragged(spec, len(shape))
        shape.append(lengths.pop())
    return level, tuple(shape)


def _cast(flat: list[Any], spec: TensorSpec) -> NDArray[Any]:
    """An array of the spec's dtype, quickly when that is possible, else slowly or with the reason why not."""
    import numpy as np

    code = _CODES.get(spec.dtype)
    if code is not None and flat and type(flat[0]) is not bool:
        try:  # four times as fast as numpy.array; bytes are six times as fast as that
            if code == "B":
                return np.frombuffer(bytes(flat), spec.dtype)
            return np.frombuffer(struct.pack(f"{len(flat)}{code}", *flat), spec.dtype)
        except (struct.error, OverflowError, ValueError, TypeError):
            pass
    return _cast_slowly(flat, spec)


def _cast_slowly(flat: list[Any], spec: TensorSpec) -> NDArray[Any]:
    import numpy as np

    try:
        array = np.array(flat) if flat else np.zeros(0, spec.dtype if spec.dtype != "string" else object)
    except (ValueError, OverflowError) as error:
        raise _ragged(spec, None) from error
    kind = array.dtype.kind
    if spec.dtype == "string":
        if kind != "U" or not all(type(v) is str for v in flat):
            raise _wrong_kind(spec, flat)
        return array.astype(object)
    wanted = np.dtype(spec.dtype)
    if array.dtype == wanted:
        return array
    if kind == "O" and all(type(v) is int for v in flat):  # beyond 64 bits
        raise _out_of_range(spec, max(flat, key=abs))
    if kind not in "iuf" or wanted.kind == "b":
        raise _wrong_kind(spec, flat)
    if wanted.kind == "f":
        with np.errstate(over="ignore"):
            return array.astype(wanted)
    limits = np.iinfo(wanted)
    if kind == "f":
        whole = np.isfinite(array) & (np.trunc(array) == array)
        if not whole.all():
            raise _wrong_kind(spec, [array[~whole][0].item()])
    if array.size and (array.min() < limits.min or array.max() > limits.max):
        raise _out_of_range(spec, array[(array < limits.min) | (array > limits.max)][0].item())
    return array.astype(wanted)


def _wrong_kind(spec: TensorSpec, flat: list[Any]) -> BadRequestError:
    import numpy as np

    kind = "U" if spec.dtype == "string" else np.dtype(spec.dtype).kind
    good: tuple[type, ...] = {"U": (str,), "b": (bool,), "f": (int, float)}.get(kind, (int,))
    odd = next((v for v in flat if type(v) not in good), flat[0])
    shown = repr(odd) if len(repr(odd)) <= 40 else f"{repr(odd)[:40]}…"
    what = {str: "text", bool: "a truth value", type(None): "null", dict: "an object", list: "a list"}
    got = {**what, float: "a real number", int: "a number"}.get(type(odd), "")
    return BadRequestError(f"input {spec.name!r}: expected {spec.dtype} ({_KINDS[kind]}), got {got} {shown}.")


def _out_of_range(spec: TensorSpec, value: Any) -> BadRequestError:
    import numpy as np

    limits = np.iinfo(spec.dtype) if np.dtype(spec.dtype).kind in "iu" else np.finfo(spec.dtype)
    return BadRequestError(f"input {spec.name!r}: expected {spec.dtype} ({limits.min} to {limits.max}), got {value}.")


def _ragged(spec: TensorSpec, dimension: int | None) -> BadRequestError:
    where = "" if dimension is None else f" in dimension {dimension}"
    return BadRequestError(
        f"input {spec.name!r}: expected a rectangular array, got lists of different lengths or depths{where}."
    )


def _decode_texts(value: Any, spec: TensorSpec) -> Any:
    """Replace ``{"b64": …}`` by the text it holds."""
    if isinstance(value, list):
        return [_decode_texts(v, spec) for v in value]
    if isinstance(value, dict) and set(value) == {"b64"}:
        try:
            return base64.b64decode(value["b64"], validate=True).decode()
        except (TypeError, ValueError, binascii.Error) as error:
            raise BadRequestError(f"input {spec.name!r}: b64 holds no base64 of UTF-8 text.") from error
    return value


def _encode_texts(value: Any, *, as_bytes: bool) -> Any:
    if isinstance(value, list):
        return [_encode_texts(v, as_bytes=as_bytes) for v in value]
    data = value if isinstance(value, bytes) else str(value).encode()
    if not as_bytes:
        try:
            return data.decode()
        except UnicodeDecodeError:
            pass
    return {"b64": base64.b64encode(data).decode()}


def _show(shape: tuple[object, ...]) -> str:
    return "(" + ", ".join("?" if d is None else str(d) for d in shape) + ("," if len(shape) == 1 else "") + ")"

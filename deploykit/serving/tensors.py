"""Tensors between JSON and NumPy: fast for what is right, exact about what is wrong.

A number has the meaning of the original model: where that takes real numbers, so does the server, also where it is
declared to take the bytes of images. Truth values are not numbers, and what does not fit a dtype is refused instead of
becoming infinite or wrapping around.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from itertools import chain
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.wire import MOST_DIMENSIONS, check_sizes, objects, text_or_bytes
from deploykit.core.model import TensorSpec, fits_shape
from deploykit.serving.faults import InvalidInputError, shown

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
#: So many numbers are few: a step of NumPy takes longer than Python takes for them.
FEW = 64
#: Up to this, every whole number is a real one of double precision.
_EXACT = 2**53
#: Dimensions of a shape that a message shows.
_SHOWN_DIMENSIONS = 8
#: TensorFlow Serving's names of dtypes, where they are others, and of what JSON holds.
_SERVING_DTYPES = {"float16": "half", "float32": "float", "float64": "double"}
_SERVING_TYPES = {str: "String", type(None): "Null", dict: "Object", list: "Array"}
_KINDS = {"f": "real numbers", "i": "whole numbers", "u": "whole numbers", "b": "true or false", "U": "text"}


def from_lists(
    value: Any, spec: TensorSpec, shape: tuple[int, ...] | None = None, *, real: str = "", truths: bool = True
) -> NDArray[Any]:
    """An array of the spec's dtype from nested JSON lists.

    Args:
        value: Nested lists, batch first.
        spec: The input.
        shape: Shape given apart, for data that may be flat.
        real: Dtype of the real numbers that are taken although the spec's is one of whole numbers; see `converted`.
        truths: Whether there may be truth values among the numbers; looking for them takes as long as all the rest.

    Raises:
        InvalidInputError: Ragged lists, values of another kind or out of range.
    """
    if shape is not None:
        checked_sizes(shape, spec)
    flat, found = _flatten(value, spec)
    if spec.dtype == "string":
        flat = [_text(v, spec) for v in flat]
    array = _cast(flat, spec, real=real, truths=truths)
    if shape is not None and found != shape:
        if len(found) > 1 or array.size != math.prod(shape):
            raise InvalidInputError(f"Input {spec.name!r}: expected data of shape {_show(shape)}, got {_show(found)}.")
        found = shape
    return array.reshape(found)


def to_lists(name: str, array: NDArray[Any]) -> Any:
    """Nested JSON lists of an output; bytes as ``{"b64": …}`` when its name ends in ``_bytes``."""
    if array.dtype.kind not in "SUO":
        return array.tolist()
    return _encode_texts(array.tolist(), as_bytes=name.endswith("_bytes"))


def to_json(name: str, array: NDArray[Any]) -> Any:
    """What a JSON writer that knows arrays takes for an output: all digits of its numbers, texts as from `to_lists`."""
    import numpy as np

    if array.dtype.kind in "SUO":
        return to_lists(name, array)
    if array.dtype.kind != "f":
        return array
    if array.size <= FEW:  # as Python writes them, before NumPy is done with its own way
        return array.tolist()
    with np.errstate(invalid="ignore"):  # NaN of the signaling kind
        return array.astype(np.float64)


def checked_sizes(shape: tuple[int, ...], spec: TensorSpec) -> None:
    """Raise `InvalidInputError` unless there can be an array of this shape."""
    try:
        check_sizes(shape)
    except ValueError as error:
        raise InvalidInputError(f"Input {spec.name!r}: {error}.") from error


def check_shape(found: tuple[int, ...], spec: TensorSpec) -> None:
    """Raise `InvalidInputError` unless a shape fits the spec, batch first."""
    wanted = spec.shape
    if wanted is None or found == wanted or fits_shape(wanted, found):
        return
    hint = " The first dimension is the batch: send a list of examples." if len(found) == len(wanted) - 1 else ""
    raise InvalidInputError(
        f"Input {spec.name!r}: expected shape {_show(('batch', *wanted[1:]))}, got {_show(found)}.{hint}"
    )


def converted(array: NDArray[Any], spec: TensorSpec, *, real: str = "") -> NDArray[Any]:
    """Numbers in the spec's dtype, where that loses nothing but the digits of a real number.

    Args:
        array: Numbers, no truth values.
        spec: The input.
        real: Dtype of the real numbers that are taken although the spec's is one of whole numbers, "" for none: where
            all are whole they get the spec's dtype, else this one, and must be in the range of the spec's.

    Raises:
        InvalidInputError: A number is out of range, or real where a whole one is expected.
    """
    import numpy as np

    wanted = np.dtype(spec.dtype)
    if array.dtype == wanted or not array.size:
        return array.astype(wanted, copy=False)
    if wanted.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            cast = array.astype(wanted)
        lost = np.isinf(cast) & ~np.isinf(array)
        if array.dtype.kind in "iu":
            exact = 2 ** (np.finfo(wanted).nmant + 1)
            far = ((array > exact) | (array < -exact)) & ~lost
            lost[far] = [int(c) != int(a) for c, a in zip(cast[far], array[far], strict=True)]
        if lost.any():
            raise _out_of_range(spec, array[lost][0].item())
        return cast
    limits = np.iinfo(wanted)
    if array.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # NaN of the signaling kind
            whole = np.isfinite(array) & (np.trunc(array) == array)
            wide = array.astype(np.float64)
        if not whole.all() and not real:
            raise _wrong_kind(spec, [array[~whole][0].item()])
        # Compared as a real number, the largest whole one of 64 bits is rounded up to the power of two; as one of 16
        # bits it is beyond all of them.
        inside = (wide >= limits.min) & (wide <= limits.max) & (wide < float(int(limits.max) + 1))  # NaN is not
        if not inside.all():
            raise _out_of_range(spec, array[~inside][0].item())
        return array.astype(wanted if whole.all() else real)
    if array.min() < limits.min or array.max() > limits.max:
        raise _out_of_range(spec, array[(array < limits.min) | (array > limits.max)][0].item())
    return array.astype(wanted)


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
        if len(shape) == MOST_DIMENSIONS:
            raise InvalidInputError(f"Input {spec.name!r}: expected at most {MOST_DIMENSIONS} dimensions, got more.")
        shape.append(lengths.pop())
    return level, tuple(shape)


def _cast(flat: list[Any], spec: TensorSpec, *, real: str, truths: bool) -> NDArray[Any]:
    """An array of the spec's dtype, quickly when that is possible, else slowly or with the reason why not."""
    import numpy as np

    code = _CODES.get(spec.dtype)
    if code is not None and flat and not (truths and bool in set(map(type, flat))):
        try:  # four times as fast as numpy.array; bytes are six times as fast as that
            if code == "B":
                return np.frombuffer(bytes(flat), spec.dtype)
            # Standard sizes: with native ones it packs 1e39 as a float32 of infinity.
            return np.frombuffer(struct.pack(f"={len(flat)}{code}", *flat), spec.dtype)
        except (struct.error, OverflowError, ValueError, TypeError):
            pass
    return _cast_slowly(flat, spec, real=real)


def _cast_slowly(flat: list[Any], spec: TensorSpec, *, real: str) -> NDArray[Any]:
    import numpy as np

    types = set(map(type, flat))
    if list in types:
        raise _ragged(spec, None)
    if spec.dtype == "string":
        if not types <= {str, bytes}:
            raise _wrong_kind(spec, flat)
        return _checked_text(objects(flat), spec)
    if not flat:
        return np.zeros(0, spec.dtype)
    if spec.dtype == "bool":
        if types != {bool}:
            raise _wrong_kind(spec, flat)
        return np.array(flat)
    if not types <= {int, float}:
        raise _wrong_kind(spec, flat, real=real)
    whole = np.dtype(spec.dtype).kind != "f"
    if whole and float in types:  # beside a real number, NumPy would round whole ones of more than 53 bits
        if (far := next((v for v in flat if type(v) is float and abs(v) > _EXACT), None)) is not None:
            raise _out_of_range(spec, far)  # the JSON may have said another number
        flat = [int(v) if type(v) is float and v.is_integer() else v for v in flat]
        types = set(map(type, flat))
    try:
        array = np.array(flat, None if whole else np.float64)
    except OverflowError:
        raise _out_of_range(spec, max(flat, key=abs)) from None
    if array.dtype.kind == "O" or (array.dtype.kind == "f" and types == {int} and whole):
        raise _out_of_range(spec, max(flat, key=abs))  # beyond 64 bits
    return converted(array, spec, real=real)


def _checked_text(array: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    """Texts that can be encoded: a client in this process, unlike one over HTTP, may give half a surrogate pair."""
    try:
        "".join(v for v in array.tolist() if type(v) is str).encode()
    except UnicodeEncodeError as error:
        half = shown(error.object[error.start : error.end])
        raise InvalidInputError(
            f"Input {spec.name!r}: expected text, got {half}, half of a surrogate pair, which is not a character."
        ) from error
    return array


def _wrong_kind(spec: TensorSpec, flat: list[Any], *, real: str = "") -> InvalidInputError:
    import numpy as np

    kind = "U" if spec.dtype == "string" else np.dtype(spec.dtype).kind
    good: tuple[type, ...] = {"U": (str,), "b": (bool,), "f": (int, float)}.get(kind, (int, float) if real else (int,))
    odd = next((v for v in flat if type(v) not in good), flat[0])
    what = {str: "text", bool: "a truth value", type(None): "null", dict: "an object", list: "a list"}
    got = {**what, float: "a real number", int: "a number"}.get(type(odd), "")
    kinds = "whole or real numbers" if real else _KINDS[kind]
    return InvalidInputError(
        f"Input {spec.name!r}: expected {spec.dtype} ({kinds}), got {got if odd is None else f'{got} {shown(odd)}'}.",
        f"JSON Value: {_as_json(odd)} Type: {_serving_type(odd)} is not of expected type: {_serving_dtype(spec)}",
    )


def _out_of_range(spec: TensorSpec, value: Any) -> InvalidInputError:
    import numpy as np

    got = str(value) if not isinstance(value, int) or abs(value) < 10**40 else "a number beyond 10 ** 40"
    name = _serving_dtype(spec)
    if np.dtype(spec.dtype).kind in "iu":
        whole = np.iinfo(spec.dtype)
        return InvalidInputError(
            f"Input {spec.name!r}: expected {spec.dtype} ({whole.min} to {whole.max}), got {got}.",
            f"JSON Value: {got} Type: Number is not of expected type: {name}",
        )
    limits = np.finfo(spec.dtype)
    lossy = f"Cannot convert JSON value: {got} to {name} without loss of precision."
    if abs(value) <= float(limits.max):
        exact = 2 ** (limits.nmant + 1)
        return InvalidInputError(
            f"Input {spec.name!r}: {spec.dtype} holds all integers only up to {exact}, got {got}; send them as "
            f"{spec.dtype} to have them rounded.",
            lossy,
        )
    return InvalidInputError(
        f"Input {spec.name!r}: expected {spec.dtype} ({limits.min} to {limits.max}), got {got}.", lossy
    )


def _ragged(spec: TensorSpec, dimension: int | None) -> InvalidInputError:
    where = "" if dimension is None else f" in dimension {dimension}"
    return InvalidInputError(
        f"Input {spec.name!r}: expected a rectangular array, got lists of different lengths or depths{where}."
    )


def encoded(value: Any, spec: TensorSpec) -> bytes:
    """The bytes in ``{"b64": …}``.

    Raises:
        InvalidInputError: It is something else, or not base64.
    """
    if type(value) is not dict or value.keys() != {"b64"}:
        raise _wrong_kind(spec, [value])
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise InvalidInputError(f"Input {spec.name!r}: b64 is not valid base64.", "Unable to base64 decode") from error


def _text(value: Any, spec: TensorSpec) -> Any:
    """What ``{"b64": …}`` holds, as text where that is UTF-8, else as bytes; other values as they are."""
    if type(value) is not dict or value.keys() != {"b64"}:
        return value
    return text_or_bytes(encoded(value, spec))


def _serving_dtype(spec: TensorSpec) -> str:
    return _SERVING_DTYPES.get(spec.dtype, spec.dtype)


def _serving_type(value: Any) -> str:
    return str(value) if type(value) is bool else _SERVING_TYPES.get(type(value), "Number")


def _as_json(value: Any) -> str:
    """A value in JSON's form, shortened."""
    if type(value) in (list, dict, bytes):
        return shown(value)
    return shown(value) if type(value) is str and len(value) > 40 else json.dumps(value)


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
    sizes = ["?" if d is None else str(d) for d in shape[:_SHOWN_DIMENSIONS]]
    if len(shape) > _SHOWN_DIMENSIONS:
        sizes.append(f"… {len(shape)} dimensions")
    return "(" + ", ".join(sizes) + ("," if len(shape) == 1 else "") + ")"

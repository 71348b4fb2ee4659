"""JSON bodies of the REST protocols.

orjson reads and writes them: of the parsers that were measured, it takes the least time for numbers. It has no NaN and
no infinity, which clients of these protocols send and expect as literals: bodies with them take the slower way.
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from deploykit.serving.dataplane import DataPlane
from deploykit.serving.faults import InvalidInputError
from deploykit.serving.tensors import FEW

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Most lists and objects, and most values, of one body: an empty list takes thirty times as much memory as text.
MOST_LISTS, MOST_VALUES = 1 << 21, 1 << 23
#: Bodies up to this size cannot hold enough to matter, and are read within milliseconds.
SMALL_BYTES = 1 << 18
#: What orjson says → what TensorFlow Serving's clients know.
_WORDS = {"empty document": "The document is empty", "infinity when parsed": "number is out of range"}


def read_json(body: bytes) -> Any:
    """Plain data of a request; whole numbers beyond 64 bits are real ones.

    Raises:
        InvalidInputError: It is not JSON, or holds too many lists or values.
    """
    if len(body) <= SMALL_BYTES:
        return _parsed(body)
    _check_count("lists and objects", body.count(b"[") + body.count(b"{"), MOST_LISTS)
    _check_count("values", body.count(b","), MOST_VALUES)
    with _without_collection():
        return _parsed(body)


def takes_long(plane: DataPlane, body: bytes, image: bytes = b"", end: int | None = None) -> bool:
    """Whether reading a body may take so long that it must not hold up the event loop.

    Args:
        plane: The model.
        body: JSON, and perhaps binary data.
        image: What is in the JSON if it holds encoded images.
        end: Length of the JSON, if there are binary data.
    """
    if (len(body) if end is None else end) > SMALL_BYTES:
        return True
    return bool(image and plane.images.names) and body.find(image, 0, end) >= 0


def write_json(message: Any, outputs: Mapping[str, NDArray[Any]]) -> bytes:
    """JSON text of plain data and arrays; values that are not numbers are the literals that clients know.

    Args:
        message: What is written.
        outputs: The arrays that its numbers are of.
    """
    import orjson

    floats = [array for array in outputs.values() if array.dtype.kind == "f"]
    few = sum([array.size for array in floats]) <= FEW
    if few or _finite_all(floats):
        text = orjson.dumps(message, _lists, orjson.OPT_SERIALIZE_NUMPY)
        # It writes null for what is not finite: in a short text, that is found sooner than among the numbers.
        if not few or b"null" not in text or _finite_all(floats):
            return text
    return json.dumps(message, default=_lists).encode()


def _finite_all(arrays: Iterable[NDArray[Any]]) -> bool:
    import numpy as np

    return all(np.isfinite(array).all() for array in arrays)


def _parsed(body: bytes) -> Any:
    import orjson

    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if b"NaN" not in body and b"Infinity" not in body:
            raise _not_json(error) from error
    try:
        found = json.loads(body, parse_float=_finite, parse_int=_whole)
        if b"\\u" in body:  # half a surrogate pair would come up only when an answer is encoded
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise _not_json(error) from error
    return found


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Parsing makes lists that are all in use: looking for others among them takes four times as long as the rest."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _check_count(what: str, count: int, most: int) -> None:
    if count > most:
        raise InvalidInputError(
            f"Expected at most {most:,} {what} in a JSON body, got {count:,}; send smaller batches, or the Open "
            "Inference Protocol's binary tensors."
        )


def _finite(text: str) -> float:
    if math.isinf(found := float(text)):
        raise ValueError(f"number {text[:40]} is out of range")
    return found


def _whole(text: str) -> int | float:
    """A whole number as orjson reads it."""
    if len(text) < 19:
        return int(text)
    found = int(text) if len(text) < 40 else 1 << 64
    return found if -(1 << 63) <= found < 1 << 64 else _finite(text)


def _lists(array: Any) -> Any:
    """A NumPy array or number as plain data: what the fast writer does not take."""
    return array.tolist()


def _not_json(error: Exception) -> InvalidInputError:
    if isinstance(error, RecursionError) or "depth" in str(error):
        reason = "it is nested too deeply"
    elif isinstance(error, json.JSONDecodeError):
        words = next((theirs for ours, theirs in _WORDS.items() if ours in error.msg), error.msg)
        reason = f"{words} at offset: {error.pos}"
    elif isinstance(error, UnicodeEncodeError):
        reason = "it holds half of a surrogate pair, which is not a character"
    else:
        reason = " ".join(str(error).split())[:200].rstrip(".")
    return InvalidInputError(f"JSON Parse error: {reason}.")

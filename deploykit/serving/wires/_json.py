"""JSON bodies of the REST protocols."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deploykit.core.serial import parse
from deploykit.serving.faults import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_json(body: bytes) -> Any:
    """Plain data of a request.

    Raises:
        InvalidInputError: It is not JSON.
    """
    try:
        return parse(body)
    except ValueError as error:
        if b"NaN" not in body and b"Infinity" not in body:
            raise _not_json(error) from error
    try:  # TensorFlow Serving takes these literals, the fast parser does not
        return json.loads(body, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise _not_json(error) from error


def write_json(message: Any, outputs: Mapping[str, NDArray[Any]]) -> bytes:
    """JSON text of plain data; values that are not numbers as the literals that clients of these protocols know."""
    import msgspec
    import numpy as np

    if all(a.dtype.kind != "f" or np.isfinite(a).all() for a in outputs.values()):
        return msgspec.json.encode(message)  # without dump's walk over the data: this is the path of every request
    return json.dumps(message).encode()


def _finite(text: str) -> float:
    if math.isinf(found := float(text)):
        raise ValueError(f"{text[:40]} is out of range")
    return found


def _not_json(error: Exception) -> InvalidInputError:
    if isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError):
        text = "it is nested too deeply"
    else:
        text = " ".join(str(error).split())[:200].rstrip(".")
    return InvalidInputError(f"Expected JSON: {text}.")

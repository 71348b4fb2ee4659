"""Quantized weights, kept from one candidate to the next.

Most settings of static quantization change how activations are quantized. ONNX Runtime's quantizers compute the weights
anew each time, channel by channel in Python, which takes longer than all the rest. Here the functions that do it, which
depend on nothing but their arguments, remember what they gave in this process.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from deploykit.core.extras import require

#: Bytes to keep at most. What does not fit is computed anew.
ROOM = 64 << 20
#: The functions, and the modules of ``onnxruntime.quantization`` that call them.
_CALLED = (
    ("quantize_data", ("base_quantizer",)),
    ("compute_data_quant_params", ("qdq_quantizer",)),
    ("quantize_onnx_initializer", ("qdq_quantizer",)),
)

_results: dict[tuple[Any, ...], Any] = {}
_used = 0


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """While it lasts, ONNX Runtime's quantizers take weights from what this process has computed before."""
    with contextlib.ExitStack() as changed:
        for name, modules in _CALLED:
            for module in modules:
                place = require(f"onnxruntime.quantization.{module}", "")
                function = getattr(place, name)
                changed.callback(setattr, place, name, function)
                setattr(place, name, _remembering(function))
        yield


def _remembering(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        global _used
        key = _key(function.__name__, args, options)
        if key not in _results:
            found = function(*args, **options)
            size = _size(found)
            if _used + size > ROOM:
                return found
            _results[key] = found
            _used += size
        return _copy(_results[key])

    return call


def _key(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
    """What a result depends on. There are thousands of calls, one for each channel: this must be quick."""
    values: list[Any] = [name]
    for value in (*args, *itertools.chain.from_iterable(options.items())):
        if hasattr(value, "tobytes"):  # arrays, and NumPy's numbers
            values += (value.dtype.str, value.shape, hashlib.blake2b(value.tobytes(), digest_size=16).digest())
        elif hasattr(value, "SerializeToString"):
            values.append(hashlib.blake2b(value.SerializeToString(), digest_size=16).digest())
        else:
            values += (type(value), value)  # True and 1 are one key, and two settings
    return tuple(values)


def _size(found: Any) -> int:
    if isinstance(found, tuple | list):
        return sum(_size(x) for x in found)
    return int(found.nbytes) if hasattr(found, "nbytes") else int(found.ByteSize())


def _copy(found: Any) -> Any:
    """A result of its own for each caller, who may change it."""
    if isinstance(found, tuple | list):
        return type(found)(_copy(x) for x in found)
    if hasattr(found, "nbytes"):
        return found.copy()
    made = type(found)()
    made.CopyFrom(found)
    return made

"""JSON requests that differ from one before in their numbers alone.

Parsers for Python make an object of each number, which takes longer than a small model runs. simdjson reads numbers
into an array, but the array does not say how they were nested, or what stood around them: that must be, byte for byte,
what it was in a request that was read and checked as a whole.
"""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from deploykit.serving.batches import Batch
from deploykit.serving.faults import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.serving.served import ServedModel

T = TypeVar("T")

#: Dtype of an input → what simdjson reads its numbers as.
_READ_AS = {
    "float32": "d", "float64": "d", "int8": "i", "int16": "i", "int32": "i", "int64": "i", "uint8": "i", "uint16": "i",
    "uint32": "i",
}  # fmt: skip
#: What numbers and the space between them are made of.
_OF_NUMBERS = b"0123456789.eE+- \t\r\n"
_NUMBER = re.compile(rb"[0-9.eE+\-]+")
_NESTED = re.compile(rb"[\[\],0-9.eE+\- \t\r\n]*")
#: Fewer numbers are read quickly by any parser.
_FEWEST = 16
#: Forms of requests that are remembered for a path, and the most bytes of one without its numbers.
_KNOWN, _KNOWN_BYTES = 64, 1 << 16
#: Requests that are not remembered after so many of which no other was like one: to remember takes as long as to read.
_PASSED = 1024
_parsers = threading.local()


@dataclass(frozen=True)
class _Form(Generic[T]):
    """A request without its numbers."""

    model: weakref.ref[ServedModel]  # or what is remembered would keep a model that is served no more
    name: str
    dtype: str
    shape: tuple[int, ...]
    kind: tuple[object, ...]
    said: T


class Forms(Generic[T]):
    """Forms of the requests of one path, whose one input holds numbers. Belongs to one event loop.

    Args:
        key: What stands before the numbers: a member's name with its quotes; b"" for the first list there is.
    """

    def __init__(self, key: bytes = b"") -> None:
        self._key = key
        #: By what stands before the numbers: what stands behind them, and forms by how the numbers are nested.
        self._known: dict[bytes, dict[bytes, dict[bytes, _Form[T]]]] = {}
        self._count = 0
        self._found = False
        self._passing = 0

    def read(self, model: ServedModel, body: bytes) -> tuple[Batch, T] | None:
        """The batch of a request, and what was said of the one it is like; None if it is like none."""
        start = self._start(body)
        for end, forms in self._known.get(body[:start], {}).items() if start >= 0 else ():
            if not body.endswith(end):
                continue
            numbers = body[start : len(body) - len(end)]
            form, array = _like(numbers, forms)
            if form is not None and array is not None and form.model() is model:
                self._found = True
                return Batch({form.name: array.reshape(form.shape)}, form.shape[0], form.kind), form.said
        return None

    def learn(self, model: ServedModel, body: bytes, batch: Batch, said: T, meaning: Callable[[bytes], Batch]) -> None:
        """Remember a request that was right.

        Args:
            model: What it is for.
            body: The request.
            batch: What it means.
            said: What else it says.
            meaning: Reads such a request as a whole; may raise an `InvalidInputError`.
        """
        if self._passing:
            self._passing -= 1
            return
        start = self._start(body)
        if start < 0 or len(batch.arrays) != 1:
            return
        ((name, array),) = batch.arrays.items()
        spec, found = model.plane.inputs[name], _NESTED.match(body, start)
        if spec.dtype not in _READ_AS or array.dtype != spec.dtype or array.size < _FEWEST or found is None:
            return
        numbers = found[0].rstrip(b", \t\r\n")
        nesting = numbers.translate(None, _OF_NUMBERS)
        before, end = body[:start], body[start + len(numbers) :]
        size = len(before) + len(nesting) + len(end)
        if nesting.count(b"[") != nesting.count(b"]") or size > _KNOWN_BYTES or not _is(array, numbers, spec.dtype):
            return
        if not _means(array, name, before, numbers, end, meaning):
            return
        if self._count >= _KNOWN:
            self._known.clear()
            self._passing = 0 if self._found else _PASSED  # as where each has an id before its numbers
            self._count, self._found = 0, False
        self._count += 1
        forms = self._known.setdefault(before, {}).setdefault(end, {})
        forms[nesting] = _Form(weakref.ref(model), name, spec.dtype, array.shape, batch.kind, said)

    def _start(self, body: bytes) -> int:
        """Where the numbers begin, -1 if nowhere."""
        place = body.find(self._key) if self._key else 0
        return -1 if place < 0 else body.find(b"[", place)


def _like(numbers: bytes, forms: Mapping[bytes, _Form[T]]) -> tuple[_Form[T] | None, NDArray[Any] | None]:
    """The form of numbers that are nested like these, and the numbers; None where there is none."""
    depth = numbers.rfind(b"[") + 1
    if numbers.find(b"]") != len(numbers) - depth or not numbers.startswith(b"[" * depth):
        form = forms.get(numbers.translate(None, _OF_NUMBERS))
        return form, None if form is None else _array(numbers, form.dtype)
    # A single list of numbers, as of one example: how many there are says all, and no byte needs to be looked at.
    dtype = next(iter(forms.values())).dtype
    array = _array(numbers, dtype)
    form = None if array is None else forms.get(b"[" * depth + b"," * (array.size - 1) + b"]" * depth)
    return (form, array) if form is not None and form.dtype == dtype else (None, None)


def _is(array: NDArray[Any], numbers: bytes, dtype: str) -> bool:
    """Whether reading numbers this way gives the same array."""
    import numpy as np

    found = _array(numbers, dtype)
    return found is not None and found.size == array.size and np.array_equal(found, array.ravel())


def _means(
    array: NDArray[Any], name: str, before: bytes, numbers: bytes, end: bytes, meaning: Callable[[bytes], Batch]
) -> bool:
    """Whether these numbers count: the same may stand in a list that does not, or for a name given twice."""
    import numpy as np

    other, wanted = int(array.flat[0] != 1), array.copy()
    wanted.flat[0] = other
    probe = b"".join((before, _NUMBER.sub(b"%d" % other, numbers, count=1), end))
    try:
        return np.array_equal(meaning(probe).arrays[name], wanted)
    except InvalidInputError:
        return False


def _array(numbers: bytes, dtype: str) -> NDArray[Any] | None:
    """A flat array of the numbers in nested lists; None if they are not all of that dtype."""
    import numpy as np

    parser = getattr(_parsers, "one", None)
    if parser is None:
        try:
            from simdjson import Parser
        except ImportError:
            return None
        parser = _parsers.one = Parser()
    code: Any = _READ_AS[dtype]
    try:
        parsed: Any = parser.parse(numbers)
        found = np.frombuffer(parsed.as_buffer(of_type=code), np.float64 if code == "d" else np.int64)
    except (ValueError, TypeError, RuntimeError):
        return None
    finally:
        parsed = None  # the parser has room for one document
    if dtype in ("float64", "int64"):
        return found
    with np.errstate(over="ignore", invalid="ignore"):
        cast = found.astype(dtype)
    same = np.isfinite(cast).all() if code == "d" else (cast == found).all()
    return cast if same else None

"""Requests of binary tensors whose JSON part has been seen before, as most of a client's have: only numbers differ.

Reading the JSON, checking it and writing that of the answer takes several times as long as a small model does.
"""

from __future__ import annotations

import math
import weakref
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.wire import DTYPES, JSON_LENGTH, datatype, plain, to_bytes
from deploykit.core.serial import dump
from deploykit.serving.batches import Batch
from deploykit.serving.faults import InvalidInputError, shown
from deploykit.serving.wires._contract import Headers, Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploykit.serving.batches import Outputs
    from deploykit.serving.served import ServedModel

BINARY = b"application/octet-stream"
LENGTH = JSON_LENGTH.lower().encode()
#: JSON parts that are remembered for a path, up to so many bytes each.
_KNOWN, _KNOWN_BYTES = 128, 2048
#: Most digits of a length in a header.
_MOST_DIGITS = 12
#: Bytes that are these numbers whatever they are; others are looked at one by one.
_PLAIN = frozenset(DTYPES) - {"BOOL", "BYTES"}


class Plan:
    """How requests with one JSON part are read and answered.

    Args:
        model: What they are for.
        tensors: Name, datatype and shape of each input, in the order of the bytes.
        wanted: Names of the outputs that go back as bytes.
    """

    __slots__ = ("_array", "_count", "_heads", "_kind", "_last", "_model", "_named", "_parts", "_size", "_wanted")

    def __init__(self, model: ServedModel, tensors: list[tuple[str, str, tuple[int, ...]]], wanted: list[str]) -> None:
        import numpy as np

        self._model = weakref.ref(model)  # what is remembered must not keep a model that is served no more
        self._named = {"model_name": model.name, "model_version": model.version}
        parts, start = {}, 0
        for name, wire, shape in tensors:
            dtype = np.dtype(DTYPES[wire]).newbyteorder("<")
            size = math.prod(shape)
            parts[name] = shape, dtype, start
            start += size * dtype.itemsize
        self._size = start
        self._parts = [(name, *parts[name]) for name in model.plane.inputs if name in parts]
        self._count = tensors[0][2][0]
        self._kind = tuple((name, dtype, shape[1:]) for name, shape, dtype, _ in self._parts)
        self._array = np.ndarray
        self._wanted = wanted
        #: JSON part of an answer, with the header of its length, by the outputs' dtypes and shapes.
        self._heads: dict[tuple[Any, ...], tuple[bytes, tuple[tuple[bytes, bytes], ...]]] = {}
        #: The last of them of a sole output whose numbers are its bytes as they are.
        self._last: tuple[Any, Any, bytes, tuple[tuple[bytes, bytes], ...]] = (None, None, b"", ())

    def is_for(self, model: ServedModel) -> bool:
        """Whether it was made for this model, in this version."""
        return self._model() is model

    def batch(self, body: bytes, start: int) -> Batch | None:
        """The examples of a request whose bytes begin there; None if there are more or fewer of them than it says."""
        if len(body) - start != self._size:
            return None
        array = self._array
        arrays = {name: array(shape, dtype, body, start + offset) for name, shape, dtype, offset in self._parts}
        return Batch(arrays, self._count, self._kind)

    def response(self, outputs: Outputs) -> Response:
        """The answer."""
        if len(self._wanted) == 1:
            array = outputs[self._wanted[0]]
            dtype, shape, text, headers = self._last
            if array.dtype is dtype and array.shape == shape:
                return Response(200, text + array.tobytes(), BINARY, headers)
        arrays = [outputs[name] for name in self._wanted]
        key = tuple([(array.dtype, array.shape) for array in arrays])
        found = self._heads.get(key)
        blobs = [to_bytes(array) for array in arrays]
        if found is None:
            found = self._head(outputs, blobs)
            if len(self._heads) < _KNOWN and all(array.dtype.kind not in "SUO" for array in arrays):
                self._heads[key] = found
        if len(arrays) == 1 and plain(arrays[0].dtype):
            self._last = arrays[0].dtype, arrays[0].shape, *found
        return Response(200, b"".join((found[0], *blobs)), BINARY, found[1])

    def _head(self, outputs: Outputs, blobs: list[bytes]) -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
        tensors = [
            {
                "name": name,
                "datatype": datatype(outputs[name]),
                "shape": list(outputs[name].shape),
                "parameters": {"binary_data_size": len(blob)},
            }
            for name, blob in zip(self._wanted, blobs, strict=True)
        ]
        text = dump({**self._named, "outputs": tensors})
        return text, ((LENGTH, str(len(text)).encode()),)


class Plans:
    """Plans by the JSON part of their requests. Belongs to one event loop."""

    def __init__(self) -> None:
        self._known: dict[bytes, Plan] = {}
        #: The headers that were looked at last, which a client's next request mostly has as well, and what they said.
        self._headers: Headers = []
        self._length: bytes | None = None

    def json_length(self, headers: Headers, size: int) -> int:
        """Bytes of a body that are JSON; binary tensors follow.

        Args:
            headers: Headers of the request.
            size: Bytes of the body.

        Raises:
            InvalidInputError: The header says what cannot be.
        """
        if headers is not self._headers:
            self._headers, self._length = headers, next((value for name, value in headers if name == LENGTH), None)
        value = self._length
        if value is None:
            return size
        if not value.isdigit() or len(value) > _MOST_DIGITS or (length := int(value)) > size:
            got = shown(value.decode("latin-1"))
            raise InvalidInputError(f"{JSON_LENGTH}: expected a number up to the body's {size} bytes, got {got}.")
        return length

    def find(self, model: ServedModel, head: bytes) -> Plan | None:
        """The plan for a JSON part, None if there is none for this model."""
        plan = self._known.get(head)
        return plan if plan is not None and plan.is_for(model) else None

    def learn(self, model: ServedModel, head: bytes, message: Mapping[str, Any], wanted: list[str]) -> None:
        """Remember how a request that was right is read, if its numbers can be read without a look at each.

        Args:
            model: What it is for.
            head: Its JSON part.
            message: The same as plain data.
            wanted: Names of the outputs that go back, all of them as bytes and with nothing else.
        """
        tensors = []
        for tensor in message["inputs"]:
            name, wire = tensor["name"], tensor["datatype"]
            spec = model.plane.inputs[name]
            if wire not in _PLAIN or DTYPES[wire] != spec.dtype or set(tensor.get("parameters", ())) != _SIZE:
                return
            tensors.append((name, wire, tuple(tensor["shape"])))
        if len(head) > _KNOWN_BYTES:
            return
        if len(self._known) >= _KNOWN:
            self._known.clear()
        self._known[bytes(head)] = Plan(model, tensors, wanted)


_SIZE = {"binary_data_size"}

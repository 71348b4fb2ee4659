"""Warm-up requests that lie beside a SavedModel, as TensorFlow Serving replays them when it loads one.

Source: its guide "SavedModel Warmup": a TFRecord file of ``PredictionLog`` messages,
``assets.extra/tf_serving_warmup_requests``, with at most 1,000 of them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import ModelFileError
from deploykit.core.files import read_small
from deploykit.core.model import TensorSpec
from deploykit.core.protos.messages import message
from deploykit.serving.dataplane import DEFAULT_SIGNATURE
from deploykit.serving.examples import serialized
from deploykit.serving.faults import Fault
from deploykit.serving.wires._tensor_proto import read_tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

REQUESTS = "assets.extra/tf_serving_warmup_requests"
_MOST_BYTES = 1 << 30
_MOST_RECORDS = 1000


class Recorded:
    """The requests in a file.

    Args:
        file: It.

    Raises:
        ModelFileError: It cannot be read, or holds something else.
    """

    def __init__(self, file: Path) -> None:
        from google.protobuf.message import DecodeError

        self._file = file
        #: Requests by signature: of predictions a request, of others the examples in one.
        self._requests: dict[str, list[Any]] = {}
        kind = message("tensorflow.serving.PredictionLog")
        try:
            for record in _records(read_small(file, _MOST_BYTES, "the warm-up requests", ModelFileError)):
                self._take(kind.FromString(record))
        except (DecodeError, struct.error, ValueError) as error:
            raise ModelFileError(
                f"{file}: not a TFRecord file of PredictionLog messages: {error}.", remedy="record it again."
            ) from error

    def _take(self, log: Any) -> None:
        kind = log.WhichOneof("log_type")
        if kind is None:
            return
        request = getattr(log, kind).request
        specs = [task.model_spec for task in request.tasks] if kind == "multi_inference_log" else [request.model_spec]
        for spec in specs:
            content = request if kind == "predict_log" else request.input
            self._requests.setdefault(spec.signature_name or DEFAULT_SIGNATURE, []).append(content)

    def inputs(self, signature: str, specs: Sequence[TensorSpec], most: int) -> dict[str, NDArray[Any]]:
        """Up to so many examples for a signature, of one shape, batch first; none if there are none.

        Args:
            signature: Its name.
            specs: Its inputs, of any shape.
            most: Number of examples.

        Raises:
            ModelFileError: A request does not fit the signature.
        """
        import numpy as np

        found: dict[str, list[NDArray[Any]]] = {}
        rows = 0
        for request in self._requests.get(signature, ()):
            try:
                arrays = _arrays(request, specs)
            except (Fault, KeyError) as error:
                raise ModelFileError(
                    f"{self._file}: a request does not fit the signature {signature!r}: {error}.",
                    remedy="record it again.",
                ) from error
            counts = {len(array) if array.ndim else 0 for array in arrays.values()}
            if len(counts) != 1 or 0 in counts:
                continue  # where its examples begin and end is not known
            if found and any(found[name][0].shape[1:] != array.shape[1:] for name, array in arrays.items()):
                continue
            for name, array in arrays.items():
                found.setdefault(name, []).append(array)
            rows += counts.pop()
            if rows >= most:
                break
        return {name: np.concatenate(parts)[:most] for name, parts in found.items()}


def _arrays(request: Any, specs: Sequence[TensorSpec]) -> dict[str, NDArray[Any]]:
    if hasattr(request, "inputs"):
        return {
            spec.name: read_tensor(request.inputs[spec.name], spec, real="", limit=_MOST_BYTES)
            for spec in specs
            if _has(request.inputs, spec.name)
        }
    return {specs[0].name: serialized(*_examples(request))}


def _has(inputs: Mapping[str, Any], name: str) -> bool:
    if name not in inputs:  # reading it would make an empty one
        raise KeyError(name)
    return True


def _examples(given: Any) -> tuple[list[Any], Any]:
    """Examples, and what they share."""
    kind = given.WhichOneof("kind")
    if kind is None:
        return [], None
    held = getattr(given, kind)
    return list(held.examples), held.context if kind == "example_list_with_context" else None


def _records(data: bytes) -> Iterator[bytes]:
    """The records of a TFRecord file: length, its checksum, content, its checksum."""
    at = count = 0
    while at < len(data) and count < _MOST_RECORDS:
        (size,) = struct.unpack_from("<Q", data, at)
        if at + size + 16 > len(data):
            raise ValueError(f"a record ends after {at + size + 16:,} bytes, there are {len(data):,}")
        yield data[at + 12 : at + 12 + size]
        at += size + 16
        count += 1

"""Warm-up requests of TensorFlow Serving: a TFRecord file of ``PredictionLog`` messages.

The few messages are encoded by hand, so that exporting needs neither tensorflow-serving-api nor TensorFlow in the
user's process. Field numbers: tensorflow_serving/apis/{prediction_log,predict,model}.proto and
tensorflow/core/framework/{tensor,tensor_shape}.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import ExportError
from deploykit.core.tfrecord import tfrecord

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIGNATURE = "serving_default"
#: tensorflow/core/framework/types.proto, by NumPy name.
_DTYPES = {
    "float32": 1,
    "float64": 2,
    "int32": 3,
    "uint8": 4,
    "int16": 5,
    "int8": 6,
    "int64": 9,
    "bool": 10,
    "uint16": 17,
    "float16": 19,
    "uint32": 22,
    "uint64": 23,
}
_STRING = 7


def warmup_records(name: str, examples: Iterable[Mapping[str, NDArray[Any]]]) -> bytes:
    """Content of ``tf_serving_warmup_requests``: a predict request for each example.

    Args:
        name: Name the model is served by.
        examples: Arrays by the signature's input names, each a batch of one example.
    """
    return tfrecord(_field(6, _field(1, predict_request(name, example))) for example in examples)


def predict_request(name: str, inputs: Mapping[str, NDArray[Any]]) -> bytes:
    """A ``PredictRequest`` message."""
    spec = _field(1, name.encode()) + _field(3, SIGNATURE.encode())
    entries = (_field(1, key.encode()) + _field(2, tensor_proto(value)) for key, value in inputs.items())
    return _field(1, spec) + b"".join(_field(2, entry) for entry in entries)


def tensor_proto(array: NDArray[Any]) -> bytes:
    """A ``TensorProto`` message; numbers go into ``tensor_content``.

    Raises:
        ExportError: TensorFlow Serving has no such dtype.
    """
    import numpy as np

    dims = b"".join(_field(2, _number(1, int(size))) for size in array.shape)
    if array.dtype.kind in "SUO":
        texts = (v if isinstance(v, bytes) else str(v).encode() for v in array.ravel().tolist())
        return _number(1, _STRING) + _field(2, dims) + b"".join(_field(8, t) for t in texts)
    if array.dtype.name not in _DTYPES:
        raise ExportError(
            f"TensorFlow Serving does not accept {array.dtype} inputs.", remedy="export with layout='folder'."
        )
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return _number(1, _DTYPES[array.dtype.name]) + _field(2, dims) + _field(4, little.tobytes())


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data

"""TensorFlow Serving's REST messages: rows (``instances``) and columns (``inputs``).

Source: TensorFlow Serving's RESTful API documentation, and its sources where they differ (versions are strings, the
signature is nested in ``signature_def.signature_def``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.core.model import TensorSpec
from deploykit.serving.batches import Batch
from deploykit.serving.dataplane import VERSION, DataPlane
from deploykit.serving.faults import BadRequestError
from deploykit.serving.tensors import from_lists, to_lists

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIGNATURE = "serving_default"
_TYPES = {"float16": "DT_HALF", "float32": "DT_FLOAT", "float64": "DT_DOUBLE"}


def read_predict(plane: DataPlane, message: Any, *, truths: bool = True) -> tuple[Batch, bool]:
    """The batch of a predict request, and whether it came in rows.

    Args:
        plane: The model.
        message: The request.
        truths: Whether there may be truth values in it.

    Raises:
        BadRequestError: The request is wrong.
    """
    if not isinstance(message, dict):
        raise BadRequestError("Expected a JSON object with 'instances' or 'inputs'.")
    signature = message.get("signature_name") or SIGNATURE
    if signature != SIGNATURE:
        raise BadRequestError(f"Serving signature name {signature!r} not found; expected {SIGNATURE!r}.")
    rows, columns = "instances" in message, "inputs" in message
    if rows == columns:
        raise BadRequestError(
            f"Expected either 'instances' (rows) or 'inputs' (columns), got {'both' if rows else 'neither'}."
        )
    arrays = _rows(plane, message["instances"], truths) if rows else _columns(plane, message["inputs"], truths)
    return plane.batch(arrays), rows


def write_predict(outputs: dict[str, NDArray[Any]], *, rows: bool) -> dict[str, Any]:
    """The answer: ``predictions`` for rows, ``outputs`` for columns; names only where there are several outputs."""
    lists = {name: to_lists(name, array) for name, array in outputs.items()}
    if len(lists) == 1:
        return {"predictions" if rows else "outputs": next(iter(lists.values()))}
    if not rows:
        return {"outputs": lists}
    return {"predictions": [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]}


def status() -> dict[str, Any]:
    """State of the model's only version."""
    ok = {"error_code": "OK", "error_message": ""}
    return {"model_version_status": [{"version": VERSION, "state": "AVAILABLE", "status": ok}]}


def metadata(plane: DataPlane) -> dict[str, Any]:
    """Names, dtypes and shapes of inputs and outputs."""
    signature = {
        "inputs": {name: _tensor(spec) for name, spec in plane.inputs.items()},
        "outputs": {name: _tensor(spec) for name, spec in plane.outputs.items()},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": plane.name, "signature_name": "", "version": VERSION},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE: signature}}},
    }


def _rows(plane: DataPlane, rows: Any, truths: bool) -> dict[str, NDArray[Any]]:
    if not isinstance(rows, list) or not rows:
        raise BadRequestError(f"'instances': expected a list of at least one example, got {_kind(rows)}.")
    if not isinstance(rows[0], dict) or set(rows[0]) == {"b64"}:
        return _sole(plane, rows, truths)
    names = list(rows[0])
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise BadRequestError(f"'instances': expected objects only, got {_kind(row)} at position {number}.")
        if number == 0 or row.keys() != rows[0].keys():
            plane.check_names(row)
            if row.keys() != rows[0].keys():
                raise BadRequestError(
                    f"'instances': expected the same inputs in all objects, not at position {number}."
                )
    return {
        n: from_lists([row[n] for row in rows], plane.inputs[n], real=plane.real.get(n, ""), truths=truths)
        for n in names
    }


def _columns(plane: DataPlane, columns: Any, truths: bool) -> dict[str, NDArray[Any]]:
    if not isinstance(columns, dict) or set(columns) == {"b64"}:
        return _sole(plane, columns, truths)
    plane.check_names(columns)
    return {
        n: from_lists(value, plane.inputs[n], real=plane.real.get(n, ""), truths=truths) for n, value in columns.items()
    }


def _sole(plane: DataPlane, value: Any, truths: bool) -> dict[str, NDArray[Any]]:
    spec = plane.sole_input()
    return {spec.name: from_lists(value, spec, real=plane.real.get(spec.name, ""), truths=truths)}


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    dims = [{"size": str(-1 if d is None else d), "name": ""} for d in spec.shape or ()]
    return {
        "dtype": _TYPES.get(spec.dtype, f"DT_{spec.dtype.upper()}"),
        "tensor_shape": {"dim": dims, "unknown_rank": spec.shape is None},
        "name": spec.name,
    }


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "an empty list" if not value else "a list"
    names = {dict: "an object", str: "text", type(None): "null", bool: "a truth value"}
    return names.get(type(value), "a number")

"""TensorFlow Serving's REST messages: rows (``instances``) and columns (``inputs``).

Source: TensorFlow Serving's RESTful API documentation, and its sources where they differ (versions are strings, the
signature is nested in ``signature_def.signature_def``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from deploykit.core.model import TensorSpec
from deploykit.core.serial import dump
from deploykit.serving.batches import Batch
from deploykit.serving.dataplane import DataPlane
from deploykit.serving.faults import InvalidInputError
from deploykit.serving.service import ServedModel, Service
from deploykit.serving.tensors import from_lists, to_lists
from deploykit.serving.wires._contract import Endpoint, Headers, HTTPWire, Response, get
from deploykit.serving.wires._json import read_json, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIGNATURE = "serving_default"
_PATH = re.compile(
    r"/v1/models/(?P<model>[^/:]+)(?:/versions/(?P<version>[^/:]+)|/labels/(?P<label>[^/:]+))?"
    r"(?P<what>/metadata|:predict|:classify|:regress)?/?",
    re.IGNORECASE,
)
_TYPES = {"float16": "DT_HALF", "float32": "DT_FLOAT", "float64": "DT_DOUBLE"}


class RestV1(HTTPWire):
    """Rows and columns of JSON."""

    name = "rest_v1"
    label = "TensorFlow Serving REST"
    help = "TensorFlow Serving's REST protocol: predict in rows and columns, metadata, status."
    prefix = "/v1"

    def endpoint(self, path: str, service: Service) -> Endpoint | None:
        """Predict, metadata or status of a model."""
        match = _PATH.fullmatch(path)
        if match is None:
            return None
        name, version = match["model"], match["version"] or match["label"]
        service.model(name, version)
        what = (match["what"] or "").lower()
        if what == ":predict":
            return Endpoint("POST", partial(_predict, service, name, version))
        if what in (":classify", ":regress"):
            raise InvalidInputError(f"The model's signature is for predict; expected :predict, got {what}.")
        if what == "/metadata":
            return get(lambda: dump(metadata(service.model(name, version))))
        return get(lambda: dump(status([service.model(name, version).version] if version else service.versions(name))))

    def example(self, model: str) -> str:
        """Where to predict."""
        return f"/v1/models/{model}[:predict]"


async def _predict(service: Service, name: str, version: str | None, body: bytes, _: Headers) -> Response:
    model = service.model(name, version)
    # Neither true nor false is in a body without these letters, as in most: to look for words takes longer.
    truths = b"u" in body or b"l" in body
    batch, rows = read_predict(model.plane, read_json(body), truths=truths)
    outputs = await model.runner.run(batch)
    return Response(200, write_json(write_predict(outputs, rows=rows), outputs))


def read_predict(plane: DataPlane, message: Any, *, truths: bool = True) -> tuple[Batch, bool]:
    """The batch of a predict request, and whether it came in rows.

    Args:
        plane: The model.
        message: The request.
        truths: Whether there may be truth values in it.

    Raises:
        InvalidInputError: The request is wrong.
    """
    if not isinstance(message, dict):
        raise InvalidInputError("Expected a JSON object with 'instances' or 'inputs'.")
    signature = message.get("signature_name") or SIGNATURE
    if signature != SIGNATURE:
        raise InvalidInputError(f"Serving signature name {signature!r} not found; expected {SIGNATURE!r}.")
    rows, columns = "instances" in message, "inputs" in message
    if rows == columns:
        raise InvalidInputError(
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


def status(versions: Sequence[str]) -> dict[str, Any]:
    """States of a model's versions."""
    ok = {"error_code": "OK", "error_message": ""}
    return {"model_version_status": [{"version": v, "state": "AVAILABLE", "status": ok} for v in versions]}


def metadata(model: ServedModel) -> dict[str, Any]:
    """Names, dtypes and shapes of inputs and outputs."""
    plane = model.plane
    signature = {
        "inputs": {name: _tensor(spec) for name, spec in plane.inputs.items()},
        "outputs": {name: _tensor(spec) for name, spec in plane.outputs.items()},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": plane.name, "signature_name": "", "version": model.version},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE: signature}}},
    }


def _rows(plane: DataPlane, rows: Any, truths: bool) -> dict[str, NDArray[Any]]:
    if not isinstance(rows, list) or not rows:
        raise InvalidInputError(f"'instances': expected a list of at least one example, got {_kind(rows)}.")
    if not isinstance(rows[0], dict) or set(rows[0]) == {"b64"}:
        return _sole(plane, rows, truths)
    names = list(rows[0])
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InvalidInputError(f"'instances': expected objects only, got {_kind(row)} at position {number}.")
        if number == 0 or row.keys() != rows[0].keys():
            plane.check_names(row)
            if row.keys() != rows[0].keys():
                raise InvalidInputError(
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


ADAPTER = RestV1()

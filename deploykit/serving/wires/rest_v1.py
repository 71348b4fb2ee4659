"""TensorFlow Serving's REST messages: rows (``instances``), columns (``inputs``), and examples of features.

Beyond them, a body may be an image or a web form, and ``classification`` asks for the best classes with their names.

Source: TensorFlow Serving's RESTful API documentation, and its sources where they differ (versions are strings, the
signature is nested in ``signature_def.signature_def``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import OutputMeaning
from deploykit.core.model import TensorSpec
from deploykit.core.serial import dump
from deploykit.serving import examples
from deploykit.serving.batches import Batch
from deploykit.serving.classification import check, labelled, takes
from deploykit.serving.dataplane import DEFAULT_SIGNATURE, DataPlane
from deploykit.serving.faults import Fault, InvalidInputError, shown
from deploykit.serving.served import ServedModel, State
from deploykit.serving.service import Service
from deploykit.serving.tensors import encoded, from_lists, to_json
from deploykit.serving.uploads import CLASSIFICATION, batch_of, read_upload
from deploykit.serving.wires._contract import Endpoint, Find, Headers, HTTPWire, Ready, Response, get, refusal
from deploykit.serving.wires._json import read_json, takes_long, write_json
from deploykit.serving.wires._numbers import Forms

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PATH = re.compile(
    r"/v1/models/(?P<model>[^/:]+)(?:/versions/(?P<version>[^/:]+)|/labels/(?P<label>[^/:]+))?"
    r"(?P<what>/metadata|:predict|:classify|:regress)?/?",
    re.IGNORECASE,
)
_TYPES = {"float16": "DT_HALF", "float32": "DT_FLOAT", "float64": "DT_DOUBLE"}


class RestV1(HTTPWire):
    """Rows, columns and examples of JSON; images and forms."""

    name = "rest_v1"
    label = "TensorFlow Serving REST"
    help = "TensorFlow Serving's REST protocol: predict in rows and columns, classify, regress, metadata, status."
    prefix = "/v1"

    def endpoint(self, path: str, service: Service) -> Endpoint | None:
        """Predict, classify, regress, metadata or status of a model."""
        match = _PATH.fullmatch(path)
        if match is None:
            return None
        name, version, label = match["model"], match["version"], match["label"]
        what = (match["what"] or "").lower()
        if not what:
            status_of(service, name, version, label)
            return get(lambda: dump(status(status_of(service, name, version, label))))
        find = partial(service.model if what == "/metadata" else service.chosen, name, version, label)
        find()
        if what == ":predict":
            return Endpoint("POST", partial(_predict, find), quick=partial(_ready, find, Forms()))
        if what in (":classify", ":regress"):
            return Endpoint("POST", partial(_examine, find, what[1:]))
        return get(lambda: dump(metadata(find())))

    def example(self, model: str) -> str:
        """Where to predict."""
        return f"/v1/models/{model}[:predict]"

    def refusal(self, fault: Fault) -> Response:
        """TensorFlow Serving's words come first where it has some for this."""
        if (said := words(fault)) != fault.message:
            return refusal(InvalidInputError(said))
        return refusal(fault)


def words(fault: Fault) -> str:
    """What went wrong, first in TensorFlow Serving's words where it has some for it."""
    if isinstance(fault, InvalidInputError) and fault.serving:
        return f"{fault.serving.rstrip('.')}. {fault.message}"
    return fault.message


def _ready(find: Find, forms: Forms[bool], body: bytes, _: Headers) -> Ready | None:
    """An ordinary request."""
    model = find()
    if not body.startswith(b"{") or takes_long(model.plane, body, b'"b64"'):
        return None
    if (found := forms.read(model, body)) is not None:
        batch, rows = found
    else:
        named, batch, rows, count = _read_body(model, body)
        if count is not None:
            return None
        if named is model:
            forms.learn(model, body, batch, rows, lambda probe: _read_body(model, probe)[1])
        model = named
    return Ready(model, batch, partial(_respond, rows))


def _respond(rows: bool, outputs: dict[str, NDArray[Any]]) -> Response:
    return Response(200, write_json(write_predict(outputs, rows=rows), outputs))


async def _predict(find: Find, body: bytes, headers: Headers) -> Response:
    model = find()
    plane = model.plane
    upload = read_upload(body, headers)
    if upload is None:
        read = partial(_read_body, model, body)
        model, batch, rows, count = await plane.reading(read) if takes_long(plane, body, b'"b64"') else read()
        plane = model.plane
    else:
        batch, rows = await plane.reading(partial(batch_of, plane, upload)), True
        count = upload.classification
    scored = [] if count is None else _scored(plane, count)
    outputs = await model.runner.run(batch)
    if not scored:
        return _respond(rows, outputs)
    best = {m.name: labelled(outputs[m.name], m, count, plane.classes_of(m)) for m in scored}
    values = {n: best.get(n, to_json(n, a)) for n, a in outputs.items()}
    return Response(200, write_json(_arranged(values, rows=rows), outputs))


async def _examine(find: Find, method: str, body: bytes, headers: Headers) -> Response:
    """Classify or regress."""
    model = find()
    plane = model.plane
    classify = method == "classify"
    check_method = examples.check_classifies if classify else examples.check_regresses
    upload = read_upload(body, headers)
    if upload is None:
        message = await plane.reading(partial(read_json, body)) if takes_long(plane, body) else read_json(body)
        model = _signature(model, message, "'examples'")
        plane = model.plane
        check_method(plane)
        batch = _read_examples(plane, message, method)
    else:
        check_method(plane)
        batch = await plane.reading(partial(batch_of, plane, upload))
    outputs = await model.runner.run(batch)
    found = examples.classifications(plane, outputs) if classify else examples.regressions(plane, outputs)
    return Response(200, write_json({"results": found}, outputs))


def _read_body(model: ServedModel, body: bytes) -> tuple[ServedModel, Batch, bool, Any]:
    """The signature that is asked for, the batch, whether it came in rows, and how many best classes are wanted."""
    # Neither true nor false is in a body without these letters, as in most: to look for words takes longer.
    truths = b"u" in body or b"l" in body
    message = read_json(body)
    model = _signature(model, message, "'instances' or 'inputs'")
    batch, rows = read_predict(model.plane, message, truths=truths)
    return model, batch, rows, message.get(CLASSIFICATION)


def read_predict(plane: DataPlane, message: Any, *, truths: bool = True) -> tuple[Batch, bool]:
    """The batch of a predict request, and whether it came in rows.

    Args:
        plane: The model.
        message: The request.
        truths: Whether there may be truth values in it.

    Raises:
        InvalidInputError: The request is wrong.
    """
    rows, columns = "instances" in message, "inputs" in message
    if rows == columns:
        raise InvalidInputError(
            f"Expected either 'instances' (rows) or 'inputs' (columns), got {'both' if rows else 'neither'}.",
            f"JSON Value: {shown(message)} Not formatted correctly expecting only one of 'inputs' or 'instances' keys "
            "to exist"
            if rows
            else "Missing 'inputs' or 'instances' key",
        )
    arrays = _rows(plane, message["instances"], truths) if rows else _columns(plane, message["inputs"], truths)
    return plane.batch(arrays), rows


def write_predict(outputs: dict[str, NDArray[Any]], *, rows: bool) -> dict[str, Any]:
    """The answer: ``predictions`` for rows, ``outputs`` for columns; names only where there are several outputs."""
    return _arranged({name: to_json(name, array) for name, array in outputs.items()}, rows=rows)


def _arranged(values: dict[str, Any], *, rows: bool) -> dict[str, Any]:
    if len(values) == 1:
        return {"predictions" if rows else "outputs": next(iter(values.values()))}
    if not rows:
        return {"outputs": values}
    return {"predictions": [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]}


def _scored(plane: DataPlane, count: Any) -> list[OutputMeaning]:
    """The outputs of which the best classes are wanted: all that hold scores of classes."""
    found = [meaning for meaning in plane.meanings.values() if takes(meaning)]
    for meaning in found or plane.meanings.values():
        check(meaning, count)
    return found


def _signature(model: ServedModel, message: Any, keys: str) -> ServedModel:
    """The signature of a model that a request asks for.

    Raises:
        InvalidInputError: The request is not an object, or there is no such signature.
    """
    if not isinstance(message, dict):
        raise InvalidInputError(
            f"Expected a JSON object with {keys}, got {_kind(message)}.", f"JSON Value: {shown(message)} Is not object"
        )
    signature = message.get("signature_name", "")
    if not isinstance(signature, str):
        raise InvalidInputError(
            f"'signature_name': expected text, got {_kind(signature)}.",
            f"JSON Value: {shown(message)} not formatted correctly. 'signature_name' key must be a string value.",
        )
    try:
        return model.signature(signature)
    except InvalidInputError as error:
        asked = dump(shown(signature or DEFAULT_SIGNATURE)[1:-1]).decode()
        raise InvalidInputError(error.message, f"Serving signature name: {asked} not found in signature def") from None


def _read_examples(plane: DataPlane, message: Any, method: str) -> Batch:
    found, context = message.get("examples"), message.get("context")
    start = f"JSON Value: {shown(message)}"
    if "examples" not in message:
        raise InvalidInputError(
            f"Expected 'examples', a list of objects with features for {method!r}.",
            f"{start} When method is {method}, key 'examples' is expected and was not found",
        )
    if not isinstance(found, list) or not found:
        raise InvalidInputError(
            f"'examples': expected a list of at least one example, got {_kind(found)}.",
            f"{start} 'examples' value is an empty array"
            if found == []
            else f"{start} Expecting 'examples' value to be an list/array",
        )
    for one in (*found, *([] if context is None else [context])):
        if not isinstance(one, dict):
            raise InvalidInputError(
                f"'examples' and 'context': expected objects with features, got {_kind(one)}.",
                "Example must be JSON object",
            )
    return examples.read_examples(plane, found, context)


def status_of(service: Service, name: str, version: str | None, label: str | None) -> Mapping[str, State]:
    """States of a model's versions, or of the one that is asked for.

    Raises:
        NotFoundError: There is no such model or version.
    """
    known = service.states(name)
    if version is None and label is None:
        return known
    if version is not None and version in known:
        return {version: known[version]}
    found = service.model(name, version, label).version
    return {found: known[found]}


def status(versions: Mapping[str, State]) -> dict[str, Any]:
    """States of a model's versions."""
    return {
        "model_version_status": [
            {
                "version": version,
                "state": found.state,
                "status": {"error_code": found.code, "error_message": found.message},
            }
            for version, found in versions.items()
        ]
    }


def metadata(model: ServedModel) -> dict[str, Any]:
    """Names, dtypes and shapes of inputs and outputs."""
    plane = model.plane
    planes = (plane, *(other.plane for other in model.others.values()))
    return {
        "model_spec": {"name": plane.name, "signature_name": "", "version": model.version},
        "metadata": {"signature_def": {"signature_def": {one.signature: _described(one) for one in planes}}},
    }


def _described(plane: DataPlane) -> dict[str, Any]:
    """A signature as TensorFlow has it."""
    names = plane.tensors
    return {
        "inputs": {name: _tensor(spec, names.get(name, name)) for name, spec in plane.inputs.items()},
        "outputs": {name: _tensor(spec, names.get(name, name)) for name, spec in plane.outputs.items()},
        "method_name": f"tensorflow/serving/{plane.method}",
        "defaults": {},
    }


def _rows(plane: DataPlane, rows: Any, truths: bool) -> dict[str, NDArray[Any]]:
    if not isinstance(rows, list) or not rows:
        raise InvalidInputError(
            f"'instances': expected a list of at least one example, got {_kind(rows)}.",
            "No values in 'instances' array" if rows == [] else "Expecting 'instances' to be an list/array",
        )
    if not isinstance(rows[0], dict) or set(rows[0]) == {"b64"}:
        return _sole(plane, rows, truths)
    names = list(rows[0])
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InvalidInputError(
                f"'instances': expected objects only, got {_kind(row)} at position {number}.",
                f"Expecting object but got list at item {number} of input list",
            )
        if number == 0 or row.keys() != rows[0].keys():
            plane.check_names(row)
            if row.keys() != rows[0].keys():
                raise InvalidInputError(
                    f"'instances': expected the same inputs in all objects, not at position {number}."
                )
    return {n: _input(plane, plane.spec(n), [row[n] for row in rows], truths) for n in names}


def _columns(plane: DataPlane, columns: Any, truths: bool) -> dict[str, NDArray[Any]]:
    if not isinstance(columns, dict) or set(columns) == {"b64"}:
        return _sole(plane, columns, truths)
    plane.check_names(columns)
    return {n: _input(plane, plane.spec(n), value, truths) for n, value in columns.items()}


def _sole(plane: DataPlane, value: Any, truths: bool) -> dict[str, NDArray[Any]]:
    spec = plane.sole_input()
    return {spec.name: _input(plane, spec, value, truths)}


def _input(plane: DataPlane, spec: TensorSpec, value: Any, truths: bool) -> NDArray[Any]:
    """Examples of an input: encoded images where these stand instead of numbers."""
    if spec.dtype != "string" and isinstance(value, list) and value and type(value[0]) is dict:
        return plane.images.read(spec, [encoded(one, spec) for one in value])
    return from_lists(value, spec, real=plane.real.get(spec.name, ""), truths=truths)


def _tensor(spec: TensorSpec, name: str) -> dict[str, Any]:
    dims = [{"size": str(-1 if d is None else d), "name": ""} for d in spec.shape or ()]
    return {
        "dtype": _TYPES.get(spec.dtype, f"DT_{spec.dtype.upper()}"),
        "tensor_shape": {"dim": dims, "unknown_rank": spec.shape is None},
        "name": name,
    }


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "an empty list" if not value else "a list"
    names = {dict: "an object", str: "text", type(None): "null", bool: "a truth value"}
    return names.get(type(value), "a number")


ADAPTER = RestV1()

"""Messages of the Open Inference Protocol v2, with the extensions for binary tensors and classification."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from deploykit._version import __version__
from deploykit.artifacts.wire import DATATYPES, DTYPES, JSON_LENGTH, datatype, from_bytes, to_bytes
from deploykit.core.model import TensorSpec
from deploykit.core.serial import dump
from deploykit.serving.batches import Batch
from deploykit.serving.classification import check, classified
from deploykit.serving.dataplane import DataPlane
from deploykit.serving.faults import InvalidInputError
from deploykit.serving.service import ServedModel, Service
from deploykit.serving.tensors import converted, from_lists, to_lists
from deploykit.serving.wires._contract import Endpoint, Headers, HTTPWire, Response, get
from deploykit.serving.wires._json import read_json, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PATH = re.compile(
    r"/v2/models/(?P<model>[^/:]+)(?:/versions/(?P<version>[^/:]+)|/labels/(?P<label>[^/:]+))?(?P<what>/ready|/infer)?/?",
    re.IGNORECASE,
)
_BINARY = b"application/octet-stream"
_LENGTH = JSON_LENGTH.lower().encode()
#: Datatypes that stand for one another where no number changes.
_NUMBERS = frozenset(DTYPES) - {"BOOL", "BYTES"}
#: Parameters of Triton's sequence extension.
_SEQUENCES = ("sequence_id", "sequence_start", "sequence_end")


class RestV2(HTTPWire):
    """JSON, and the binary tensors that its clients use in practice."""

    name = "rest_v2"
    label = "Open Inference v2"
    help = "Open Inference Protocol v2 over HTTP: health, metadata, infer; binary tensors and classification."
    prefix = "/v2"

    def endpoint(self, path: str, service: Service) -> Endpoint | None:
        """Health and metadata of the server; readiness, metadata or infer of a model."""
        plain = path.lower().rstrip("/")
        if plain == "/v2":
            return get(server_metadata)
        if plain == "/v2/health/live":
            return get(lambda: b'{"live":true}')
        if plain == "/v2/health/ready":
            return get(partial(_ready, service, b'{"ready":true}'))
        match = _PATH.fullmatch(path)
        if match is None:
            return None
        name, version = match["model"], match["version"] or match["label"]
        service.model(name, version)
        what = (match["what"] or "").lower()
        if what == "/infer":
            return Endpoint("POST", partial(_infer, service, name, version))
        if what == "/ready":
            return get(partial(_ready, service, dump({"name": name, "ready": True})))
        return get(lambda: model_metadata(service.model(name, version), service.versions(name)))

    def example(self, model: str) -> str:
        """Where to predict."""
        return f"/v2/models/{model}[/infer]"


def _ready(service: Service, body: bytes) -> bytes:
    service.check_ready()
    return body


async def _infer(service: Service, name: str, version: str | None, body: bytes, headers: Headers) -> Response:
    model = service.model(name, version)
    length = _json_length(headers, len(body))
    message = read_json(body if length == len(body) else body[:length])
    batch, wanted = read_infer(model.plane, message, memoryview(body)[length:])
    outputs = await model.runner.run(batch)
    answer, blobs = write_infer(model, outputs, wanted)
    text = write_json(answer, outputs)
    if not wanted.binary:
        return Response(200, text)
    return Response(200, text + blobs, _BINARY, ((_LENGTH, str(len(text)).encode()),))


def _json_length(headers: Headers, size: int) -> int:
    for name, value in headers:
        if name == _LENGTH:
            if not value.isdigit() or int(value) > size:
                shown = value.decode("latin-1")
                raise InvalidInputError(
                    f"{JSON_LENGTH}: expected a number up to the body's {size} bytes, got {shown!r}."
                )
            return int(value)
    return size


class Wanted:
    """What the client wants back.

    Attributes:
        id: The request's id, None when it gave none.
        outputs: Names of the outputs, in its order.
        binary: Those of them to be sent as binary tensors.
        classes: Those of them of which the best classes are wanted, and how many.
    """

    __slots__ = ("binary", "classes", "id", "outputs")

    def __init__(self, plane: DataPlane, message: Mapping[str, Any]) -> None:
        self.id = message.get("id")
        if self.id is not None and not isinstance(self.id, str):
            raise InvalidInputError(f"'id': expected text, got {self.id!r}.")
        general = _parameters(message, "The request")
        if any(general.get(name) for name in _SEQUENCES):
            raise InvalidInputError(
                f"The request: {', '.join(map(repr, _SEQUENCES))} are not supported, as this server keeps no state "
                "between requests; send the state as an input, and take it from the outputs."
            )
        everything_binary = general.get("binary_data_output") is True
        listed = message.get("outputs") or [{"name": name} for name in plane.outputs]
        if not isinstance(listed, list) or not all(isinstance(o, dict) for o in listed):
            raise InvalidInputError("'outputs': expected a list of objects.")
        self.outputs = [o.get("name") for o in listed]
        for name in self.outputs:
            if name not in plane.outputs:
                raise InvalidInputError(f"Unknown output {name!r}; expected {', '.join(map(repr, plane.outputs))}.")
        self.binary = set()
        self.classes: dict[str, int] = {}
        for output in listed:
            name = output["name"]
            asked = _parameters(output, f"Output {name!r}")
            if asked.get("binary_data", everything_binary) is True:
                self.binary.add(name)
            if (count := asked.get("classification")) is not None:
                check(plane.meanings[name], count)
                self.classes[name] = count


def read_infer(plane: DataPlane, message: Any, blobs: memoryview) -> tuple[Batch, Wanted]:
    """The batch of an infer request, and what is wanted back.

    Args:
        plane: The model.
        message: The JSON part.
        blobs: The binary part, empty without the extension.

    Raises:
        InvalidInputError: The request is wrong.
    """
    if not isinstance(message, dict) or not isinstance(message.get("inputs"), list):
        raise InvalidInputError("Expected a JSON object with 'inputs', a list of tensors.")
    arrays: dict[str, NDArray[Any]] = {}
    position = 0
    for tensor in message["inputs"]:
        if not isinstance(tensor, dict):
            raise InvalidInputError("'inputs': expected objects with name, shape, datatype and data.")
        spec = plane.spec(tensor.get("name"))
        if spec.name in arrays:
            raise InvalidInputError(f"Input {spec.name!r} is given twice.")
        size = _parameters(tensor, f"Input {spec.name!r}").get("binary_data_size")
        if size is None:
            arrays[spec.name] = _read_tensor(plane, tensor, spec, None)
            continue
        if type(size) is not int or not 0 <= size <= len(blobs) - position:
            left = len(blobs) - position
            raise InvalidInputError(
                f"Input {spec.name!r}: binary_data_size is {size!r}, {left} bytes of binary data are left."
            )
        arrays[spec.name] = _read_tensor(plane, tensor, spec, blobs[position : position + size])
        position += size
    if position != len(blobs):
        raise InvalidInputError(f"The inputs name {position} bytes of binary data, the body has {len(blobs)}.")
    return plane.batch(arrays), Wanted(plane, message)


def write_infer(model: ServedModel, outputs: dict[str, NDArray[Any]], wanted: Wanted) -> tuple[dict[str, Any], bytes]:
    """The JSON part and the binary part of the answer."""
    plane = model.plane
    tensors, blobs = [], []
    for name in wanted.outputs:
        array = outputs[name]
        if name in wanted.classes:
            meaning = plane.meanings[name]
            names = plane.classes if meaning.role == "scored" else ()
            array = classified(array, meaning, wanted.classes[name], names)
        tensor: dict[str, Any] = {"name": name, "datatype": datatype(array), "shape": list(array.shape)}
        if name in wanted.binary:
            blobs.append(to_bytes(array))
            tensor["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            tensor["data"] = to_lists(name, array.ravel())
        tensors.append(tensor)
    message = {"model_name": plane.name, "model_version": model.version, "outputs": tensors}
    return message if wanted.id is None else {**message, "id": wanted.id}, b"".join(blobs)


def server_metadata() -> bytes:
    """Answer to ``GET /v2``."""
    return dump({"name": "deploykit", "version": __version__, "extensions": ["binary_tensor_data", "classification"]})


def model_metadata(model: ServedModel, versions: Sequence[str]) -> bytes:
    """Answer to ``GET /v2/models/NAME``; class names come as a parameter of the scored output."""
    plane = model.plane
    outputs = [_metadata(spec) for spec in plane.outputs.values()]
    for output in outputs:
        if plane.classes and plane.meanings[output["name"]].role == "scored":
            output["parameters"] = {"classes": list(plane.classes)}
    return dump(
        {
            "name": plane.name,
            "versions": list(versions),
            "platform": plane.platform,
            "inputs": [_metadata(spec) for spec in plane.inputs.values()],
            "outputs": outputs,
        }
    )


def _read_tensor(plane: DataPlane, tensor: dict[str, Any], spec: TensorSpec, blob: memoryview | None) -> NDArray[Any]:
    where = f"Input {spec.name!r}"
    wire, shape = tensor.get("datatype"), tensor.get("shape")
    wanted = DATATYPES.get(spec.dtype, "")
    if wire != wanted and not (wire in _NUMBERS and wanted in _NUMBERS):
        known = "" if wire in DTYPES else f"; datatypes are {', '.join(DTYPES)}"
        raise InvalidInputError(f"{where}: expected datatype {wanted}, got {wire!r}{known}.")
    if not isinstance(shape, list) or not all(type(d) is int and d >= 0 for d in shape):
        raise InvalidInputError(f"{where}: expected 'shape', a list of whole numbers, got {shape!r}.")
    real = plane.real.get(spec.name, "")
    if blob is None:
        if not isinstance(tensor.get("data"), list):
            raise InvalidInputError(f"{where}: expected 'data', a list, or the parameter binary_data_size.")
        if wire == wanted:
            return from_lists(tensor["data"], spec, tuple(shape))
        sent = replace(spec, dtype=DTYPES[wire])
        return converted(from_lists(tensor["data"], sent, tuple(shape)), spec, real=real)
    try:
        array = from_bytes(blob, wire, shape)
    except ValueError as error:
        raise InvalidInputError(f"{where}: {error}.") from error
    return array if wire == wanted else converted(array, spec, real=real)


def _parameters(holder: Mapping[str, Any], where: str) -> dict[str, Any]:
    found = holder.get("parameters")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InvalidInputError(f"{where}: expected 'parameters' to be an object.")
    return found


def _metadata(spec: TensorSpec) -> dict[str, Any]:
    shape = [-1 if d is None else d for d in spec.shape or ()]
    return {"name": spec.name, "datatype": DATATYPES.get(spec.dtype, spec.dtype), "shape": shape}


ADAPTER = RestV2()

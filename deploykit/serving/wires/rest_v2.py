"""Messages of the Open Inference Protocol v2, with Triton's extensions for binary tensors and classification.

Beyond them, the body of an inference may be an image or a web form.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.wire import BF16, DATATYPES, DTYPES, datatype, from_bytes, to_bytes
from deploykit.core.model import TensorSpec
from deploykit.serving.batches import Batch
from deploykit.serving.classification import check, classified, takes
from deploykit.serving.dataplane import DataPlane
from deploykit.serving.faults import InvalidInputError, shown
from deploykit.serving.served import ServedModel
from deploykit.serving.service import Service
from deploykit.serving.tensors import converted, encoded, from_lists, to_json
from deploykit.serving.unusual import OUTLIER, check_outlier, outliers
from deploykit.serving.uploads import CLASSIFICATION, batch_of, read_upload
from deploykit.serving.wires._contract import Endpoint, Find, Headers, HTTPWire, Ready, Response
from deploykit.serving.wires._json import read_json, takes_long, write_json
from deploykit.serving.wires._numbers import Forms
from deploykit.serving.wires._plans import BINARY, LENGTH, Plans
from deploykit.serving.wires._v2_facts import endpoint_of, repository_endpoint, server_endpoint

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PATH = re.compile(
    r"/v2/models/(?P<model>[^/:]+)(?:/versions/(?P<version>[^/:]+)|/labels/(?P<label>[^/:]+))?"
    r"(?P<what>/ready|/infer|/config|/stats)?/?",
    re.IGNORECASE,
)
#: Datatypes that stand for one another where no number changes.
_NUMBERS = (frozenset(DTYPES) | {BF16}) - {"BOOL", "BYTES"}
#: Parameter of Triton's extension for shared memory.
_MEMORY = "shared_memory_region"
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
        if (found := server_endpoint(service, path.lower().rstrip("/"))) is not None:
            return found
        if (found := repository_endpoint(service, path)) is not None:
            return found
        match = _PATH.fullmatch(path)
        if match is None:
            return None
        what = (match["what"] or "").lower()
        infers = what == "/infer"
        find = partial(service.chosen if infers else service.model, match["model"], match["version"], match["label"])
        find()
        if not infers:
            return endpoint_of(service, what, find)
        plans = Plans()
        return Endpoint("POST", partial(_infer, find, plans), quick=partial(_ready, find, plans, Forms(b'"data"')))

    def example(self, model: str) -> str:
        """Where to predict."""
        return f"/v2/models/{model}[/infer]"


def _ready(find: Find, plans: Plans, forms: Forms[Wanted], body: bytes, headers: Headers) -> Ready | None:
    """An ordinary request."""
    size = len(body)
    length = plans.json_length(headers, size)
    model = find()
    if length < size:
        plan = plans.find(model, body[:length])
        known = None if plan is None else plan.batch(body, length)
        return None if plan is None or known is None else Ready(model, known, plan.response)
    if not body.startswith(b"{") or takes_long(model.plane, body, b"BYTES"):
        return None
    if (found := forms.read(model, body)) is not None:
        batch, wanted = found
    else:
        batch, wanted = _read_body(model, plans, body, length)
        if wanted.outlier:
            return None
        if wanted.id is None:  # one id comes once
            forms.learn(model, body, batch, wanted, lambda probe: _read_body(model, plans, probe, len(probe))[0])
    return Ready(model, batch, partial(_respond, model, wanted))


async def _infer(find: Find, plans: Plans, body: bytes, headers: Headers) -> Response:
    model = find()
    plane = model.plane
    upload = read_upload(body, headers)
    if upload is None:
        length = plans.json_length(headers, len(body))
        if (plan := plans.find(model, body[:length])) is not None and (known := plan.batch(body, length)) is not None:
            return plan.response(await model.runner.run(known))
        read = partial(_read_body, model, plans, body, length)
        batch, wanted = await plane.reading(read) if takes_long(plane, body, b"BYTES", length) else read()
    else:
        asked = {} if upload.classification is None else {CLASSIFICATION: upload.classification}
        wanted = Wanted(plane, {"parameters": asked})
        batch = await plane.reading(partial(batch_of, plane, upload))
    outputs = await model.runner.run(batch)
    said = await model.runner.apart(batch, outliers) if wanted.outlier else {}
    return _respond(model, wanted, outputs, said)


def _respond(
    model: ServedModel, wanted: Wanted, outputs: dict[str, NDArray[Any]], said: Mapping[str, Any] = MappingProxyType({})
) -> Response:
    answer, blobs = write_infer(model, outputs, wanted)
    if said:
        answer["parameters"] = said
    text = write_json(answer, outputs)
    if not wanted.binary:
        return Response(200, text)
    return Response(200, text + blobs, BINARY, ((LENGTH, str(len(text)).encode()),))


def _read_body(model: ServedModel, plans: Plans, body: bytes, length: int) -> tuple[Batch, Wanted]:
    """The batch, and what is wanted back, from a body whose JSON has a length."""
    head = body if length == len(body) else body[:length]
    message = read_json(head)
    batch, wanted = read_infer(model.plane, message, memoryview(body)[length:])
    if head is not body and wanted.plain:
        plans.learn(model, head, message, wanted.outputs)
    return batch, wanted


class Wanted:
    """What the client wants back.

    Attributes:
        id: The request's id, None when it gave none.
        outputs: Names of the outputs, in its order.
        binary: Those of them to be sent as binary tensors.
        classes: Those of them of which the best classes are wanted, and how many.
        outlier: Whether it is to be said how unusual the request is.
    """

    __slots__ = ("binary", "classes", "id", "outlier", "outputs")

    @property
    def plain(self) -> bool:
        """Whether it is outputs as binary tensors and nothing else."""
        return self.id is None and not self.classes and not self.outlier and len(self.binary) == len(self.outputs)

    def __init__(self, plane: DataPlane, message: Mapping[str, Any]) -> None:
        self.id = message.get("id")
        if self.id is not None and not isinstance(self.id, str):
            raise InvalidInputError(f"'id': expected text, got {shown(self.id)}.")
        general = _parameters(message, "The request")
        if any(general.get(name) for name in _SEQUENCES):
            raise InvalidInputError(
                f"The request: {', '.join(map(repr, _SEQUENCES))} are not supported, as this server keeps no state "
                "between requests; send the state as an input, and take it from the outputs."
            )
        self.outlier = _flag(general, OUTLIER, "The request")
        if self.outlier:
            check_outlier(plane)
        everything_binary = _flag(general, "binary_data_output", "The request")
        self.binary: set[str] = set()
        self.classes: dict[str, int] = {}
        listed = message.get("outputs")
        if listed is None or listed == []:
            listed = [{"name": name} for name in plane.outputs]
        if not isinstance(listed, list) or not all(isinstance(o, dict) for o in listed):
            raise InvalidInputError("'outputs': expected a list of objects.")
        self.outputs: list[str] = []
        for output in listed:
            name = output.get("name")
            if not isinstance(name, str) or name not in plane.outputs:
                raise InvalidInputError(
                    f"Unknown output {shown(name)}; expected {', '.join(map(repr, plane.outputs))}."
                )
            if name in self.outputs:
                raise InvalidInputError(f"Output {name!r} is asked for twice.")
            self.outputs.append(name)
            asked = _parameters(output, f"Output {name!r}")
            check_memory(asked, f"Output {name!r}")
            if _flag(asked, "binary_data", f"Output {name!r}", otherwise=everything_binary):
                self.binary.add(name)
            if (count := asked.get(CLASSIFICATION)) is not None:
                check(plane.meanings[name], count)
                self.classes[name] = count
        if (count := general.get(CLASSIFICATION)) is not None:
            meanings = [plane.meanings[name] for name in self.outputs]
            found = [meaning for meaning in meanings if takes(meaning)]
            for meaning in found or meanings:
                check(meaning, count)
            self.classes = {**{meaning.name: count for meaning in found}, **self.classes}


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
        given = _parameters(tensor, f"Input {spec.name!r}")
        check_memory(given, f"Input {spec.name!r}")
        size = given.get("binary_data_size")
        if size is None:
            arrays[spec.name] = read_tensor(plane, tensor, spec, None)
            continue
        if type(size) is not int or not 0 <= size <= len(blobs) - position:
            left = len(blobs) - position
            raise InvalidInputError(
                f"Input {spec.name!r}: binary_data_size is {shown(size)}, {left} bytes of binary data are left."
            )
        if "data" in tensor:
            raise InvalidInputError(f"Input {spec.name!r}: expected either 'data' or binary_data_size, got both.")
        arrays[spec.name] = read_tensor(plane, tensor, spec, blobs[position : position + size])
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
            array = classified(array, meaning, wanted.classes[name], plane.classes_of(meaning))
        tensor: dict[str, Any] = {"name": name, "datatype": datatype(array), "shape": list(array.shape)}
        if name in wanted.binary:
            blobs.append(to_bytes(array))
            tensor["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            tensor["data"] = to_json(name, array.ravel())
        tensors.append(tensor)
    message = {"model_name": plane.name, "model_version": model.version, "outputs": tensors}
    return message if wanted.id is None else {**message, "id": wanted.id}, b"".join(blobs)


def read_tensor(plane: DataPlane, tensor: dict[str, Any], spec: TensorSpec, blob: memoryview | None) -> NDArray[Any]:
    """An input from a tensor of the protocol.

    Args:
        plane: The model.
        tensor: Its ``datatype`` and ``shape``, and its ``data`` unless these are bytes.
        spec: The input.
        blob: Its data as bytes; None when they are not.

    Raises:
        InvalidInputError: It does not fit the input.
    """
    where = f"Input {spec.name!r}"
    wire, shape = tensor.get("datatype"), tensor.get("shape")
    wanted = DATATYPES.get(spec.dtype, "")
    if not isinstance(shape, list) or not all(type(d) is int and d >= 0 for d in shape):
        raise InvalidInputError(f"{where}: expected 'shape', a list of whole numbers, got {shown(shape)}.")
    if wire == "BYTES" and spec.name in plane.images.names:
        return _read_images(plane, tensor, spec, blob)
    if not isinstance(wire, str) or (wire != wanted and not (wire in _NUMBERS and wanted in _NUMBERS)):
        known = "" if isinstance(wire, str) and wire in DTYPES else f"; datatypes are {', '.join((*DTYPES, BF16))}"
        raise InvalidInputError(f"{where}: expected datatype {wanted}, got {shown(wire)}{known}.")
    real = plane.real.get(spec.name, "")
    if blob is None:
        if not isinstance(tensor.get("data"), list):
            raise InvalidInputError(f"{where}: expected 'data', a list, or the parameter binary_data_size.")
        if wire == BF16:
            raise InvalidInputError(f"{where}: {BF16} has no form in JSON; send it as binary data.")
        if wire == wanted:
            return from_lists(tensor["data"], spec, tuple(shape))
        sent = replace(spec, dtype=DTYPES[wire])
        return converted(from_lists(tensor["data"], sent, tuple(shape)), spec, real=real)
    array = _from_bytes(blob, wire, shape, spec)
    return array if wire == wanted else converted(array, spec, real=real)


def _read_images(plane: DataPlane, tensor: dict[str, Any], spec: TensorSpec, blob: memoryview | None) -> NDArray[Any]:
    """Examples of an input of numbers from encoded images: as they are in binary data, in base64 in JSON."""
    if blob is None:
        texts = from_lists(tensor.get("data"), replace(spec, dtype="string"), tuple(tensor["shape"])).ravel().tolist()
        return plane.images.read(spec, [encoded({"b64": text}, spec) for text in texts])
    files = _from_bytes(blob, "BYTES", tensor["shape"], spec).ravel().tolist()
    return plane.images.read(spec, [file if isinstance(file, bytes) else file.encode() for file in files])


def _from_bytes(blob: memoryview, wire: str, shape: Sequence[int], spec: TensorSpec) -> NDArray[Any]:
    try:
        return from_bytes(blob, wire, shape)
    except ValueError as error:
        raise InvalidInputError(f"Input {spec.name!r}: {error}.") from error


def _parameters(holder: Mapping[str, Any], where: str) -> dict[str, Any]:
    found = holder.get("parameters")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InvalidInputError(f"{where}: expected 'parameters' to be an object.")
    return found


def check_memory(parameters: Iterable[str], where: str) -> None:
    """Raise `InvalidInputError` for a tensor in shared memory: who expects it there would read what it held before."""
    if _MEMORY in parameters:
        raise InvalidInputError(f"{where}: {_MEMORY} is not supported; send and take the data themselves.")


def _flag(parameters: Mapping[str, Any], name: str, where: str, *, otherwise: bool = False) -> bool:
    found = parameters.get(name)
    if found is None:
        return otherwise
    if type(found) is not bool:
        raise InvalidInputError(f"{where}: expected {name!r} to be true or false, got {shown(found)}.")
    return found


ADAPTER = RestV2()

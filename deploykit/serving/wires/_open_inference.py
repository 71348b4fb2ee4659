"""The Open Inference Protocol v2 over gRPC, with the extensions that Triton's clients use.

What a request means is what it means over HTTP (`rest_v2`); here are the messages. Tensors come as raw bytes, which is
what clients use in practice, or as typed values; answers come back the same way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deploykit._version import __version__
from deploykit.artifacts.wire import DATATYPES, DTYPES, datatype, objects, to_bytes
from deploykit.core.model import TensorSpec
from deploykit.core.protos.messages import message
from deploykit.serving.classification import classified
from deploykit.serving.faults import Fault, InvalidInputError, NotFoundError, UnavailableError
from deploykit.serving.served import ServedModel
from deploykit.serving.unusual import outliers
from deploykit.serving.wires._grpc_service import Call, GrpcService
from deploykit.serving.wires._v2_facts import check_parameters, counted, index, series_of
from deploykit.serving.wires.rest_v2 import Wanted, check_memory, read_tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXTENSIONS = ("classification", "model_configuration", "model_repository", "statistics")
#: Datatype → the field of its typed values; the others travel as raw bytes only.
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def _infer(request: Any, call: Call) -> Any:
    model = call.service.chosen(request.model_name, request.model_version or None)
    # Most requests want all outputs as they are, and reading their wishes would take longer than reading their tensors.
    wanted = Wanted(model.plane, _wishes(request)) if request.parameters or request.outputs else None
    raw = request.raw_input_contents
    inputs = request.inputs
    if len(raw) != len(inputs):  # typed values, or something odd
        for tensor in inputs:
            check_memory(tensor.parameters, f"Input {tensor.name!r}")
    if raw and len(raw) != len(inputs):
        raise InvalidInputError(
            f"Expected raw_input_contents for all {len(inputs)} inputs or for none, got {len(raw)} of them."
        )
    arrays: dict[str, NDArray[Any]] = {}
    for place, tensor in enumerate(inputs):
        spec = model.plane.spec(tensor.name)
        if spec.name in arrays:
            raise InvalidInputError(f"Input {spec.name!r} is given twice.")
        arrays[spec.name] = _tensor(model, tensor, spec, raw[place] if raw else None)
    batch = model.plane.batch(arrays)
    answer = _response(model, request, call.run(model, batch), wanted, raw=bool(raw))
    if wanted is not None and wanted.outlier:
        for name, values in call.apart(model, batch, outliers).items():
            answer.parameters[name].string_param = json.dumps(values)
    return answer


def _wishes(request: Any) -> dict[str, Any]:
    """What is wanted back, as over HTTP."""
    return {
        "parameters": _parameters(request.parameters),
        "outputs": [{"name": o.name, "parameters": _parameters(o.parameters)} for o in request.outputs],
    }


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: getattr(value, kind) for name, value in given.items() if (kind := value.WhichOneof("parameter_choice"))
    }


def _tensor(model: ServedModel, tensor: Any, spec: TensorSpec, blob: bytes | None) -> NDArray[Any]:
    found = {"datatype": tensor.datatype, "shape": list(tensor.shape)}
    if blob is not None:
        if tensor.HasField("contents"):
            raise InvalidInputError(f"Input {spec.name!r}: expected either contents or raw_input_contents, got both.")
        return read_tensor(model.plane, found, spec, memoryview(blob))
    if tensor.datatype in DTYPES:
        field = _CONTENTS.get(tensor.datatype)
        if field is None:
            raise InvalidInputError(f"Input {spec.name!r}: {tensor.datatype} is sent in raw_input_contents only.")
        values = getattr(tensor.contents, field)
        if field == "bytes_contents":
            return read_tensor(model.plane, found, spec, memoryview(to_bytes(objects(values))))
        found["data"] = list(values)
    return read_tensor(model.plane, found, spec, None)


def _response(
    model: ServedModel, request: Any, outputs: dict[str, NDArray[Any]], wanted: Wanted | None, *, raw: bool
) -> Any:
    plane = model.plane
    answer = message("inference.ModelInferResponse")(model_name=plane.name, model_version=model.version, id=request.id)
    arrays = {name: outputs[name] for name in (plane.outputs if wanted is None else wanted.outputs)}
    for name, count in ({} if wanted is None else wanted.classes).items():
        if name in arrays:
            meaning = plane.meanings[name]
            arrays[name] = classified(arrays[name], meaning, count, plane.classes_of(meaning))
    raw = raw or not all(datatype(array) in _CONTENTS for array in arrays.values())
    for name, array in arrays.items():
        tensor = answer.outputs.add(name=name, datatype=datatype(array), shape=array.shape)
        if raw:
            answer.raw_output_contents.append(to_bytes(array))
        else:
            values = array.ravel().tolist()
            if tensor.datatype == "BYTES":
                values = [v if isinstance(v, bytes) else str(v).encode() for v in values]
            getattr(tensor.contents, _CONTENTS[tensor.datatype]).extend(values)
    return answer


def _infer_streamed(request: Any, call: Call) -> Any:
    answer = _infer(request, call)
    answer.parameters["triton_final_response"].bool_param = True  # there may be several for a request elsewhere
    return message("inference.ModelStreamInferResponse")(infer_response=answer)


def _refused(fault: Fault) -> Any:
    return message("inference.ModelStreamInferResponse")(error_message=fault.message)


def _server_ready(_: Any, call: Call) -> Any:
    return message("inference.ServerReadyResponse")(ready=_ready(call) and not call.service.stands_still)


def _ready(call: Call) -> bool:
    try:
        call.service.check_ready()
    except UnavailableError:
        return False
    return True


def _server_metadata(_: Any, __: Call) -> Any:
    return message("inference.ServerMetadataResponse")(name="deploykit", version=__version__, extensions=_EXTENSIONS)


def _model_ready(request: Any, call: Call) -> Any:
    """What is not there is not ready: clients that wait for a model take any other status for a failure."""
    try:
        call.service.model(request.name, request.version or None)
    except NotFoundError:
        return message("inference.ModelReadyResponse")(ready=False)
    return message("inference.ModelReadyResponse")(ready=_ready(call))


def _model_metadata(request: Any, call: Call) -> Any:
    plane = call.service.model(request.name, request.version or None).plane
    answer = message("inference.ModelMetadataResponse")(
        name=plane.name, versions=call.service.versions(plane.name), platform=plane.platform
    )
    for specs, tensors in ((plane.inputs, answer.inputs), (plane.outputs, answer.outputs)):
        for spec in specs.values():
            tensors.add(name=spec.name, datatype=DATATYPES.get(spec.dtype, spec.dtype), shape=_shape(spec))
    return answer


def _model_config(request: Any, call: Call) -> Any:
    """Shapes are whole, batch first, so that there is no other largest batch than 0."""
    plane = call.service.model(request.name, request.version or None).plane
    answer = message("inference.ModelConfigResponse")()
    answer.config.name, answer.config.platform = plane.name, plane.platform
    for spec in plane.inputs.values():
        answer.config.input.add(
            name=spec.name, data_type=_type(spec), dims=_shape(spec), optional=spec.name not in plane.needed
        )
    for spec in plane.outputs.values():
        answer.config.output.add(name=spec.name, data_type=_type(spec), dims=_shape(spec))
    return answer


def _statistics(request: Any, call: Call) -> Any:
    """What all workers have done."""

    def find() -> list[ServedModel]:
        return [call.service.model(request.name, request.version or None)] if request.name else _served(call)

    models, series = call.ask(find), series_of(call.service)
    return message("inference.ModelStatisticsResponse")(model_stats=[counted(series, model) for model in models])


def _index(request: Any, call: Call) -> Any:
    answer = message("inference.RepositoryIndexResponse")()
    for found in index(call.service, ready=request.ready):
        answer.models.add(**found)
    return answer


def _load(request: Any, call: Call) -> Any:
    check_parameters(request.parameters)
    call.order("load", {"name": request.model_name})
    return message("inference.RepositoryModelLoadResponse")()


def _unload(request: Any, call: Call) -> Any:
    check_parameters(request.parameters)
    call.order("unload", {"name": request.model_name})
    return message("inference.RepositoryModelUnloadResponse")()


def _served(call: Call) -> list[ServedModel]:
    return call.service.models


def _shape(spec: TensorSpec) -> list[int]:
    return [-1 if d is None else d for d in spec.shape or ()]


def _type(spec: TensorSpec) -> str:
    return f"TYPE_{DATATYPES.get(spec.dtype, 'INVALID')}".replace("BYTES", "STRING")


SERVICE = GrpcService(
    "inference.GRPCInferenceService",
    predictions={"ModelInfer": _infer},
    streams={"ModelStreamInfer": (_infer_streamed, _refused)},
    questions={
        "ServerMetadata": _server_metadata,
        "ModelReady": _model_ready,
        "ModelMetadata": _model_metadata,
        "ModelConfig": _model_config,
        "RepositoryIndex": _index,
    },
    long_questions={
        "ServerLive": lambda _, __: message("inference.ServerLiveResponse")(live=True),
        "ServerReady": _server_ready,
        "ModelStatistics": _statistics,
    },
    orders={"RepositoryModelLoad": _load, "RepositoryModelUnload": _unload},
    scopes={
        "ServerLive": "",
        "ServerReady": "",
        "ModelStatistics": "metrics",
        "RepositoryIndex": "admin",
        "RepositoryModelLoad": "admin",
        "RepositoryModelUnload": "admin",
    },
)

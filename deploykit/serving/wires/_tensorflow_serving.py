"""TensorFlow Serving's gRPC services.

Source: its API definitions and servers: predict answers with lists of values (``float_val``), not with bytes, and the
version that answered is in ``model_spec``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.serving.faults import InvalidInputError
from deploykit.serving.service import ServedModel
from deploykit.serving.wires._grpc_service import Call, GrpcService
from deploykit.serving.wires._messages import message
from deploykit.serving.wires._tensor_proto import number, read_tensor, write_tensor
from deploykit.serving.wires.rest_v1 import SIGNATURE

if TYPE_CHECKING:
    from deploykit.core.model import TensorSpec

_METADATA = "signature_def"


def _model(request: Any, call: Call) -> ServedModel:
    if not request.HasField("model_spec"):
        raise InvalidInputError("Missing ModelSpec.")
    spec = request.model_spec
    signature = spec.signature_name or SIGNATURE
    if signature != SIGNATURE:
        raise InvalidInputError(f"Serving signature name {signature!r} not found; expected {SIGNATURE!r}.")
    return call.service.model(spec.name, _version(spec))


def _version(spec: Any) -> str | None:
    if spec.HasField("version"):
        return str(spec.version.value)
    return spec.version_label or None


def _name(answer: Any, model: ServedModel, signature: str = SIGNATURE) -> None:
    """Put what answered into an answer."""
    spec = answer.model_spec
    spec.name, spec.signature_name, spec.version.value = model.plane.name, signature, int(model.version)


def _predict(request: Any, call: Call) -> Any:
    model = _model(request, call)
    plane = model.plane
    wanted = list(dict.fromkeys(request.output_filter)) or list(plane.outputs)
    for name in wanted:
        if name not in plane.outputs:
            raise InvalidInputError(f"Unknown output {name!r}; expected {', '.join(map(repr, plane.outputs))}.")
    limit = call.service.limits.request_bytes
    plane.check_names(request.inputs)
    arrays = {
        name: read_tensor(tensor, plane.inputs[name], real=plane.real.get(name, ""), limit=limit)
        for name, tensor in request.inputs.items()
    }
    outputs = call.run(model, plane.batch(arrays))
    answer = message("tensorflow.serving.PredictResponse")()
    _name(answer, model)
    for name in wanted:
        answer.outputs[name].CopyFrom(write_tensor(outputs[name]))
    return answer


def _metadata(request: Any, call: Call) -> Any:
    model = _model(request, call)
    if not request.metadata_field:
        raise InvalidInputError(f"GetModelMetadataRequest must specify at least one metadata_field: {_METADATA!r}.")
    for field in request.metadata_field:
        if field != _METADATA:
            raise InvalidInputError(f"Metadata field {field!r} is not supported; expected {_METADATA!r}.")
    signatures = message("tensorflow.serving.SignatureDefMap")()
    signature = signatures.signature_def[SIGNATURE]
    signature.method_name = "tensorflow/serving/predict"
    for specs, tensors in ((model.plane.inputs, signature.inputs), (model.plane.outputs, signature.outputs)):
        for spec in specs.values():
            _describe(spec, tensors[spec.name])
    answer = message("tensorflow.serving.GetModelMetadataResponse")()
    _name(answer, model, "")
    answer.metadata[_METADATA].Pack(signatures)
    return answer


def _describe(spec: TensorSpec, info: Any) -> None:
    info.name, info.dtype = spec.name, number(spec.dtype)
    info.tensor_shape.unknown_rank = spec.shape is None
    for size in spec.shape or ():
        info.tensor_shape.dim.add(size=-1 if size is None else size)


def _status(request: Any, call: Call) -> Any:
    model = _model(request, call)
    asked = _version(request.model_spec)
    answer = message("tensorflow.serving.GetModelStatusResponse")()
    for version in [model.version] if asked else call.service.versions(model.plane.name):
        one = answer.model_version_status.add(version=int(version), state="AVAILABLE")
        one.status.error_code = 0
    return answer


PREDICTIONS = GrpcService(
    "tensorflow.serving.PredictionService",
    predictions={"Predict": _predict},
    questions={"GetModelMetadata": _metadata},
)
MODELS = GrpcService(
    "tensorflow.serving.ModelService",
    questions={"GetModelStatus": _status},
    refused={
        "HandleReloadConfigRequest": "This server serves what it was started with; it cannot load models by request."
    },
)

"""TensorFlow Serving's gRPC services.

Source: its API definitions and servers: predict answers with lists of values (``float_val``), not with bytes, and the
version that answered is in ``model_spec``.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from deploykit.artifacts.wire import text_or_bytes
from deploykit.core.protos.messages import message
from deploykit.serving import examples
from deploykit.serving.faults import InvalidInputError, shown
from deploykit.serving.served import ServedModel
from deploykit.serving.wires._grpc_service import Call, GrpcService, UnimplementedError
from deploykit.serving.wires._tensor_proto import number, read_tensor, write_tensor
from deploykit.serving.wires.rest_v1 import status_of, words

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.core.model import TensorSpec
    from deploykit.serving.batches import Batch, Outputs
    from deploykit.serving.dataplane import DataPlane

_METADATA = "signature_def"


def _model(request: Any, call: Call, *, predicts: bool = True) -> ServedModel:
    if not request.HasField("model_spec"):
        raise InvalidInputError("Expected the model's name in model_spec.", "Missing ModelSpec")
    spec = request.model_spec
    version = str(spec.version.value) if spec.HasField("version") else None
    find = call.service.chosen if predicts else call.service.model
    found = find(spec.name, version, spec.version_label or None)
    return found.signature(spec.signature_name) if predicts else found


def _name(answer: Any, model: ServedModel, signature: str | None = None) -> None:
    """Put what answered into an answer."""
    spec = answer.model_spec
    spec.name, spec.version.value = model.plane.name, int(model.version)
    spec.signature_name = model.plane.signature if signature is None else signature


def _predict(request: Any, call: Call) -> Any:
    model = _model(request, call)
    plane = model.plane
    wanted = list(dict.fromkeys(request.output_filter)) or list(plane.outputs)
    for name in wanted:
        if name not in plane.outputs:
            raise InvalidInputError(
                f"Unknown output {shown(name)}; expected {', '.join(map(repr, plane.outputs))}.",
                f"output tensor alias not found in signature: {shown(name)[1:-1]}",
            )
    limit = call.service.limits.request_bytes
    plane.check_names(request.inputs)
    arrays = {name: _input(plane, plane.spec(name), tensor, limit) for name, tensor in request.inputs.items()}
    outputs = call.run(model, plane.batch(arrays))
    answer = message("tensorflow.serving.PredictResponse")()
    _name(answer, model)
    for name in wanted:
        answer.outputs[name].CopyFrom(write_tensor(outputs[name]))
    return answer


def _input(plane: DataPlane, spec: TensorSpec, tensor: Any, limit: int) -> NDArray[Any]:
    """Examples of an input: encoded images where there is text for an input of numbers."""
    if spec.name in plane.images.names and tensor.dtype == number("string"):
        return plane.images.read(spec, list(tensor.string_val))
    return read_tensor(tensor, spec, real=plane.real.get(spec.name, ""), limit=limit)


def _classify(request: Any, call: Call) -> Any:
    model = _model(request, call)
    examples.check_classifies(model.plane)
    outputs = call.run(model, _examples(model.plane, request.input))
    answer = message("tensorflow.serving.ClassificationResponse")()
    _name(answer, model)
    _write_classes(model.plane, outputs, answer.result)
    return answer


def _regress(request: Any, call: Call) -> Any:
    model = _model(request, call)
    examples.check_regresses(model.plane)
    outputs = call.run(model, _examples(model.plane, request.input))
    answer = message("tensorflow.serving.RegressionResponse")()
    _name(answer, model)
    _write_values(model.plane, outputs, answer.result)
    return answer


def _infer_several(request: Any, call: Call) -> Any:
    """Several readings: of one run where they are of one signature."""
    if not request.tasks:
        raise InvalidInputError("Expected at least one task, got none.")
    models = [_model(task, call) for task in request.tasks]
    if len({(model.plane.name, model.version) for model in models}) > 1:
        raise InvalidInputError(
            "Expected one model and version in all tasks.",
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        )
    for task, model in zip(request.tasks, models, strict=True):
        if task.method_name not in _READINGS:
            raise UnimplementedError(
                f"Unsupported signature method_name: {shown(task.method_name)}; expected {' or '.join(_READINGS)}."
            )
        _READINGS[task.method_name].check(model.plane)
    ran: dict[str, Outputs] = {}
    answer = message("tensorflow.serving.MultiInferenceResponse")()
    for task, model in zip(request.tasks, models, strict=True):
        plane = model.plane
        if plane.signature not in ran:
            ran[plane.signature] = call.run(model, _examples(plane, request.input))
        result = answer.results.add()
        _name(result, model)
        reading = _READINGS[task.method_name]
        reading.write(plane, ran[plane.signature], getattr(result, reading.field))
    return answer


def _write_classes(plane: DataPlane, outputs: Outputs, result: Any) -> None:
    result.SetInParent()
    for scores in examples.classifications(plane, outputs):
        one = result.classifications.add()
        for label, score in scores:
            one.classes.add(label=label, score=score)


def _write_values(plane: DataPlane, outputs: Outputs, result: Any) -> None:
    result.SetInParent()
    for value in examples.regressions(plane, outputs):
        result.regressions.add(value=value)


class _Reading(NamedTuple):
    """What a task of `MultiInference` may ask for."""

    check: Callable[[DataPlane], None]
    write: Callable[[DataPlane, Outputs, Any], None]
    field: str


_READINGS = {
    "tensorflow/serving/classify": _Reading(examples.check_classifies, _write_classes, "classification_result"),
    "tensorflow/serving/regress": _Reading(examples.check_regresses, _write_values, "regression_result"),
}


def _examples(plane: DataPlane, given: Any) -> Batch:
    """The batch of a request's ``tf.Example`` messages."""
    kind = given.WhichOneof("kind")
    held = getattr(given, kind) if kind else None
    if held is None or not held.examples:
        raise InvalidInputError("Expected at least one example, got none.", "Input is empty.")
    context = _features(held.context) if kind == "example_list_with_context" else None
    return examples.read_examples(plane, [_features(one) for one in held.examples], context)


def _features(example: Any) -> dict[str, list[Any]]:
    found = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        values = getattr(feature, kind).value if kind else ()
        found[name] = [text_or_bytes(v) for v in values] if kind == "bytes_list" else list(values)
    return found


def _metadata(request: Any, call: Call) -> Any:
    model = _model(request, call, predicts=False)
    if not request.metadata_field:
        raise InvalidInputError(
            f"Expected {_METADATA!r}.", "GetModelMetadataRequest must specify at least one metadata_field"
        )
    for field in request.metadata_field:
        if field != _METADATA:
            raise InvalidInputError(f"Expected {_METADATA!r}.", f"Metadata field {shown(field)} is not supported")
    signatures = message("tensorflow.serving.SignatureDefMap")()
    for plane in (model.plane, *(other.plane for other in model.others.values())):
        signature = signatures.signature_def[plane.signature]
        signature.method_name = f"tensorflow/serving/{plane.method}"
        for specs, tensors in ((plane.inputs, signature.inputs), (plane.outputs, signature.outputs)):
            for spec in specs.values():
                _describe(spec, plane.tensors.get(spec.name, spec.name), tensors[spec.name])
    answer = message("tensorflow.serving.GetModelMetadataResponse")()
    _name(answer, model, "")
    answer.metadata[_METADATA].Pack(signatures)
    return answer


def _describe(spec: TensorSpec, name: str, info: Any) -> None:
    info.name, info.dtype = name, number(spec.dtype)
    info.tensor_shape.unknown_rank = spec.shape is None
    for size in spec.shape or ():
        info.tensor_shape.dim.add(size=-1 if size is None else size)


def _status(request: Any, call: Call) -> Any:
    if not request.HasField("model_spec"):
        raise InvalidInputError("Expected the model's name in model_spec.", "Missing ModelSpec")
    spec = request.model_spec
    version = str(spec.version.value) if spec.HasField("version") else None
    answer = message("tensorflow.serving.GetModelStatusResponse")()
    for known, found in status_of(call.service, spec.name, version, spec.version_label or None).items():
        one = answer.model_version_status.add(version=int(known), state=found.state)
        one.status.error_code = 0 if found.code == "OK" else 2
        one.status.error_message = found.message
    return answer


def _reload(request: Any, call: Call) -> Any:
    call.order("reload", {"config": base64.b64encode(request.config.SerializeToString()).decode()})
    answer = message("tensorflow.serving.ReloadConfigResponse")()
    answer.status.error_code = 0
    return answer


PREDICTIONS = GrpcService(
    "tensorflow.serving.PredictionService",
    predictions={"Predict": _predict, "Classify": _classify, "Regress": _regress, "MultiInference": _infer_several},
    questions={"GetModelMetadata": _metadata},
    details=words,
)
MODELS = GrpcService(
    "tensorflow.serving.ModelService",
    questions={"GetModelStatus": _status},
    orders={"HandleReloadConfigRequest": _reload},
    details=words,
    scopes={"HandleReloadConfigRequest": "admin"},
)

"""TensorFlow Serving's gRPC services, asked by its own stubs: the answers are those of the bare runtime."""

import os

import numpy as np
import onnxruntime
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

tf = pytest.importorskip("tensorflow")
from tensorflow_serving.apis import (  # noqa: E402
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

import deploykit as dk  # noqa: E402
from deploykit.serving._serve import serve  # noqa: E402
from deploykit.testing import graphs  # noqa: E402

from .conftest import Caller  # noqa: E402

TYPES = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
)

#: Where a TensorProto holds lists of values.
LISTS = ("half_val", "float_val", "double_val", "int_val", "int64_val", "bool_val", "uint32_val", "uint64_val")


@pytest.fixture
def two(spoken):
    """left (batch, 4) float32, right (batch, 6) int64 → score (batch, 1), label (batch, 3)."""
    return spoken("two_inputs_onnx")


@pytest.fixture
def cnn(spoken):
    """Images (batch, 8, 8) of uint8 → probabilities (batch, 3) of boot, coat, shirt."""
    return spoken("cnn_onnx")


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    """An input and an output of each type: what goes in comes out, (batch, 3)."""
    folder = tmp_path_factory.mktemp("every")
    nodes = [graphs.node("Identity", [name], [f"{name}_out"]) for name in TYPES]
    inputs = [graphs.value(name, name, "N", 3) for name in TYPES]
    outputs = [graphs.value(f"{name}_out", name, "N", 3) for name in TYPES]
    data = dk.Dataset.from_arrays({name: np.tile(values(name), (15, 1)) for name in TYPES})
    with serve(
        graphs.exported(graphs.graph(folder, nodes, inputs, outputs), data), port=0, ports={"grpc": 0}
    ) as server:
        yield Caller(server)


def values(name):
    """The ends of the type's range and what lies between, (4, 3)."""
    dtype = np.dtype(name)
    if dtype.kind == "b":
        return np.array([[True, False, True]] * 4)
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return np.array([[limits.min, limits.max, 1], [0, 1, 2], [3, 4, 5], [6, 7, 8]], dtype)


def service(caller):
    return prediction_service_pb2_grpc.PredictionServiceStub(caller.channel)


def request(kind, caller):
    found = kind()
    found.model_spec.name = caller.server.name
    return found


def predict(caller, given, only=()):
    asked = request(predict_pb2.PredictRequest, caller)
    for name, array in given.items():
        asked.inputs[name].CopyFrom(tf.make_tensor_proto(array) if isinstance(array, np.ndarray) else array)
    asked.output_filter.extend(only)
    return service(caller).Predict(asked, timeout=60)


def in_lists(array):
    """The values in the field of their type instead of as bytes."""
    proto = tf.make_tensor_proto(array)
    full = tf.make_tensor_proto(array.ravel()[:1], shape=array.shape)
    field = next(name for name in LISTS if len(getattr(full, name)))
    proto.ClearField("tensor_content")
    for name in LISTS:
        proto.ClearField(name)
    flat = array.view(np.uint16) if array.dtype == np.float16 else array
    getattr(proto, field).extend(flat.ravel().tolist())
    return proto


def bare(caller, given):
    session = onnxruntime.InferenceSession(caller.server.artifact.model_path)
    return dict(zip((o.name for o in session.get_outputs()), session.run(None, given), strict=True))


@pytest.fixture
def given():
    rng = np.random.default_rng(3)
    return {"left": rng.normal(size=(5, 4)).astype("f4"), "right": rng.integers(-9, 9, (5, 6))}


def test_predict_answers_as_the_bare_runtime_in_lists_of_values(two, given):
    answer = predict(two, given)
    spec = answer.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("two", 1, "serving_default")
    wanted = bare(two, given)
    assert set(answer.outputs) == set(wanted)
    for name, array in wanted.items():
        assert not answer.outputs[name].tensor_content
        assert len(answer.outputs[name].float_val) == array.size
        assert tf.make_ndarray(answer.outputs[name]).tobytes() == array.tobytes()


def test_an_output_filter_leaves_the_others_out(two, given):
    assert set(predict(two, given, only=["label"]).outputs) == {"label"}


@pytest.mark.parametrize("form", [tf.make_tensor_proto, in_lists])
def test_every_type_passes_unchanged(every, form):
    answer = predict(every, {name: form(values(name)) for name in TYPES})
    for name in TYPES:
        found = tf.make_ndarray(answer.outputs[f"{name}_out"])
        assert found.dtype == name
        assert found.tobytes() == values(name).tobytes()


def test_text_passes_unchanged(spoken, refusal):
    words = np.array([["grün".encode(), b"blue"], [b"", b"a\0b"]], object)
    (found,) = predict(spoken("text_onnx"), {"words": words}).outputs.values()
    assert tf.make_ndarray(found).tolist() == words.tolist()
    with refusal("INVALID_ARGUMENT", "takes only text"):
        predict(spoken("text_onnx"), {"words": np.array([[b"\xff", b""]], object)})


def test_a_short_list_is_filled_up_as_tensorflow_does(spoken):
    log = spoken("log_onnx")
    proto = tf.make_tensor_proto(np.float32(2), shape=(3, 4))
    assert len(proto.float_val) == 1
    (found,) = predict(log, {"features": proto}).outputs.values()
    np.testing.assert_array_equal(tf.make_ndarray(found), np.full((3, 4), np.log(np.float32(2))))


def test_other_numbers_are_taken_where_none_changes(two, given):
    wanted = predict(two, given)
    found = predict(two, {"left": given["left"].astype("f8"), "right": given["right"].astype("i4")})
    assert found == wanted


def test_bfloat16_is_taken_for_float32(spoken):
    proto = tf.make_tensor_proto(tf.constant([[1, 2, 4, 0.5]], tf.bfloat16))
    (found,) = predict(spoken("log_onnx"), {"features": proto}).outputs.values()
    np.testing.assert_array_equal(tf.make_ndarray(found), np.log(np.array([[1, 2, 4, 0.5]], np.float32)))


def test_images_come_encoded_as_well(cnn):
    pixels = np.random.default_rng(4).integers(0, 256, (2, 8, 8)).astype("u1")
    files = np.array([tf.io.encode_png(image[..., None]).numpy() for image in pixels], object)
    assert predict(cnn, {"image": files}).outputs == predict(cnn, {"image": pixels}).outputs


def example(**features):
    found = tf.train.Example()
    for name, given in features.items():
        kind = {"f": "float_list", "i": "int64_list", "u": "int64_list"}[given.dtype.kind]
        getattr(found.features.feature[name], kind).value.extend(given.ravel().tolist())
    return found


def test_classify_names_all_classes_with_their_scores(cnn):
    images = np.random.default_rng(1).integers(0, 256, (2, 8, 8)).astype("u1")
    asked = request(classification_pb2.ClassificationRequest, cnn)
    asked.input.example_list.examples.extend(example(image=image) for image in images)
    answer = service(cnn).Classify(asked, timeout=60)
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("cnn", 1)
    pixels = (images.astype("f4") * np.float32(1 / 255)).reshape(2, *input_shape(cnn))
    (scores,) = bare(cnn, {"image": pixels}).values()
    found = answer.result.classifications
    assert [[c.label for c in one.classes] for one in found] == [["boot", "coat", "shirt"]] * 2
    np.testing.assert_allclose([[c.score for c in one.classes] for one in found], scores, atol=1e-6)


def input_shape(caller):
    session = onnxruntime.InferenceSession(caller.server.artifact.model_path)
    return session.get_inputs()[0].shape[1:]


def test_regress_gives_the_value_of_each_example(spoken):
    matmul = spoken("matmul_onnx")
    rows = np.random.default_rng(2).normal(size=(3, 4)).astype("f4")
    (wanted,) = bare(matmul, {"features": rows}).values()
    asked = request(regression_pb2.RegressionRequest, matmul)
    asked.input.example_list.examples.extend(example(features=row) for row in rows)
    answer = service(matmul).Regress(asked, timeout=60)
    np.testing.assert_array_equal([r.value for r in answer.result.regressions], wanted.ravel())
    several = request_several(matmul, "tensorflow/serving/regress")
    several.input.CopyFrom(asked.input)
    (result,) = service(matmul).MultiInference(several, timeout=60).results
    assert result.regression_result == answer.result
    assert result.model_spec.name == "matmul"


def request_several(caller, *methods):
    found = inference_pb2.MultiInferenceRequest()
    for method in methods:
        found.tasks.add(method_name=method).model_spec.name = caller.server.name
    return found


def test_features_of_all_examples_may_stand_in_the_context(two, given, refusal):
    asked = request(classification_pb2.ClassificationRequest, two)
    held = asked.input.example_list_with_context
    held.context.CopyFrom(example(left=given["left"][0]))
    held.examples.extend(example(right=row) for row in given["right"])
    same = {"left": np.repeat(given["left"][:1], 5, 0), "right": given["right"]}
    wanted = bare(two, same)
    answer = service(two).Classify(asked, timeout=60)
    found = np.array([[c.score for c in one.classes] for one in answer.result.classifications], "f4")
    assert any(np.array_equal(found, array) for array in wanted.values())


def test_metadata_is_a_map_of_signatures(two):
    asked = request(get_model_metadata_pb2.GetModelMetadataRequest, two)
    asked.metadata_field.append("signature_def")
    answer = service(two).GetModelMetadata(asked, timeout=60)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    signature = signatures.signature_def["serving_default"]
    shapes = {n: (t.dtype, [d.size for d in t.tensor_shape.dim]) for n, t in signature.inputs.items()}
    assert shapes == {"left": (tf.float32.as_datatype_enum, [-1, 4]), "right": (tf.int64.as_datatype_enum, [-1, 6])}
    assert set(signature.outputs) == {"score", "label"}


def test_status_of_the_versions(two, refusal):
    stub = model_service_pb2_grpc.ModelServiceStub(two.channel)
    (version,) = stub.GetModelStatus(request(get_model_status_pb2.GetModelStatusRequest, two)).model_version_status
    assert (version.version, version.state, version.status.error_code) == (1, version.AVAILABLE, 0)
    asked = request(get_model_status_pb2.GetModelStatusRequest, two)
    asked.model_spec.version.value = 9
    with refusal("NOT_FOUND", "Specific(two, 9)"):
        stub.GetModelStatus(asked)
    with refusal("INVALID_ARGUMENT", "it has no model_config_list"):
        stub.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest())


def changed(**fields):
    proto = tf.make_tensor_proto(np.zeros((2, 4), np.float32))
    for field, content in fields.items():
        proto.ClearField("tensor_content")
        if field == "dims":
            proto.ClearField("tensor_shape")
            for size in content:
                proto.tensor_shape.dim.add(size=size)
        elif isinstance(content, list):
            getattr(proto, field).extend(content)
        else:
            setattr(proto, field, content)
    return proto


@pytest.mark.parametrize(
    ("left", "text"),
    [
        ({"dtype": 7}, "expected float32, got DT_STRING"),
        ({"dtype": 10}, "expected float32, got DT_BOOL"),
        ({"dtype": 8}, "expected float32, got type 8"),
        ({"dtype": 999}, "expected float32, got type 999"),
        ({"tensor_content": b"abc"}, "needs 32 bytes, got 3"),
        ({"float_val": [1.0] * 9}, "holds at most 8 values, got 9"),
        ({"dims": [2, -4]}, "known sizes"),
        ({"dims": [1] * 70}, "known sizes"),
        ({"dims": [2, 5]}, "expected shape"),
        ({"dims": [2**62, 4]}, "are not filled up"),
        ({"dims": [1 << 22, 4]}, "are not filled up"),
        ({"dtype": 6, "int_val": [300]}, "expected int8 (-128 to 127), got 300"),
        ({"dtype": 2, "double_val": [1e39]}, "got 1e+39"),
        ({"double_val": [1.0] * 8}, "expected values of float32 in float_val, got double_val"),
    ],
)
def test_what_is_wrong_with_a_tensor_is_said(two, refusal, left, text):
    with refusal("INVALID_ARGUMENT", text):
        predict(two, {"left": changed(**left), "right": np.zeros((2, 6), np.int64)})


def test_what_is_wrong_with_a_request_is_said(two, cnn, given, refusal):
    with refusal("INVALID_ARGUMENT", "Missing ModelSpec"):
        service(two).Predict(predict_pb2.PredictRequest())
    with refusal("INVALID_ARGUMENT", "output tensor alias not found in signature: up. Unknown output 'up'"):
        predict(two, given, only=["up"])
    with refusal("INVALID_ARGUMENT", "Expected the inputs 'left', 'right'; got 'left'"):
        predict(two, {"left": given["left"]})
    asked = request(predict_pb2.PredictRequest, two)
    asked.model_spec.signature_name = "other"
    with refusal("INVALID_ARGUMENT", "not found"):
        service(two).Predict(asked)
    asked = request(predict_pb2.PredictRequest, two)
    asked.model_spec.version_label = "stable"
    with refusal("INVALID_ARGUMENT", "Unrecognized servable version label: stable"):
        service(two).Predict(asked)
    with refusal("INVALID_ARGUMENT", "Input is empty."):
        service(cnn).Classify(request(classification_pb2.ClassificationRequest, cnn))
    with refusal("INVALID_ARGUMENT", "Expected regression signature"):
        service(cnn).Regress(request(regression_pb2.RegressionRequest, cnn))
    asked = request(classification_pb2.ClassificationRequest, cnn)
    asked.input.example_list.examples.append(example(other=np.zeros(3, "f4")))
    with refusal("INVALID_ARGUMENT", "Feature: image"):
        service(cnn).Classify(asked)
    with refusal("INVALID_ARGUMENT", "at least one task"):
        service(cnn).MultiInference(inference_pb2.MultiInferenceRequest())
    with refusal("UNIMPLEMENTED", "Unsupported signature method_name"):
        service(cnn).MultiInference(request_several(cnn, "tensorflow/serving/predict"))
    asked = request(get_model_metadata_pb2.GetModelMetadataRequest, two)
    with refusal("INVALID_ARGUMENT", "must specify at least one metadata_field"):
        service(two).GetModelMetadata(asked)

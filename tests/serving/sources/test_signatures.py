"""SavedModels that deploykit did not export, served with all of their signatures, over REST and gRPC."""

import importlib

import grpc
import pytest

from deploykit.serving._serve import serve


def of(module):
    """A module of TensorFlow Serving's own messages, which import TensorFlow: not before a test needs them."""
    return importlib.import_module(f"tensorflow_serving.apis.{module}")


@pytest.fixture(scope="module")
def server(saved, tmp_path_factory):
    """``graph``: y = x / 2 + 2, z = x / 2 + x2, two versions; ``module``: functions of TensorFlow 2."""
    root = tmp_path_factory.mktemp("models")
    (root / "graph").mkdir()
    for version in ("7", "00000123"):
        (root / "graph" / version).symlink_to(saved("graph"))
    module = saved("serving_default", "constant", "lengths", "counting").parent
    config = root / "models.config"
    config.write_text(
        'model_config_list { config { name: "graph" base_path: "graph" model_platform: "tensorflow" '
        "model_version_policy { all {} } version_labels { key: 'old' value: 7 } } "
        f'config {{ name: "module" base_path: "{module}" }} }}'
    )
    with serve(config, port=0, ports={"grpc": 0}) as server:
        yield server


@pytest.fixture
def rest(server, ask):
    """Ask over REST: what is answered, or the error's text."""

    def send(method, message, model="graph"):
        answer = ask(server, "POST", f"/v1/models/{model}:{method}", message)
        return answer.json if answer.status == 200 else (answer.status, answer.error)

    return send


@pytest.fixture
def stub(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.ports['grpc']}") as channel:
        yield of("prediction_service_pb2_grpc").PredictionServiceStub(channel)


def named(request, signature="", model="graph"):
    request.model_spec.name, request.model_spec.signature_name = model, signature
    return request


def with_examples(request, *values, **shared):
    """``tf.Example`` messages with x; others are features that all share."""
    held = request.input.example_list_with_context if shared else request.input.example_list
    for name, value in shared.items():
        held.context.features.feature[name].float_list.value.append(value)
    for value in values:
        held.examples.add().features.feature["x"].float_list.value.append(value)
    return request


def test_examples_of_one_number_need_no_axis(rest):
    """As in TensorFlow Serving, which does not compare shapes with the signature's (batch, 1)."""
    assert rest("predict", {"instances": [2.0, 3.0, 4.0]}) == {"predictions": [3.0, 3.5, 4.0]}
    assert rest("predict", {"instances": [[2.0], [3.0]]}) == {"predictions": [[3.0], [3.5]]}
    assert rest("predict", {"inputs": [2.0]}) == {"outputs": [3.0]}
    assert rest("predict", {"instances": [{"x": 2.0}], "signature_name": "serving_default"}) == {"predictions": [3.0]}


def test_a_signature_is_chosen_over_rest(rest):
    examples = {"examples": [{"x": 2.0}, {"x": 4.0}]}
    assert rest("regress", {"signature_name": "regress_x_to_y", **examples}) == {"results": [3.0, 4.0]}
    shared = {"signature_name": "regress_x_to_z", "context": {"x2": 1.5}, **examples}
    assert rest("regress", shared) == {"results": [2.5, 3.5]}
    assert rest("classify", {"signature_name": "classify_x", **examples}) == {
        "results": [[["low", 3.0], ["high", 4.0]], [["low", 4.0], ["high", 5.0]]]
    }
    assert rest("classify", {"signature_name": "scores_of_x", **examples}) == {
        "results": [[["", 3.0], ["", 4.0]], [["", 4.0], ["", 5.0]]]
    }
    assert rest("predict", {"signature_name": "constant", "instances": [1.0, 5.0]}, "module") == {
        "predictions": [2.0, 2.0]
    }
    found = rest("predict", {"signature_name": "lengths", "inputs": ["ab", "", "abc"]}, "module")
    assert found == {"outputs": {"length": [2, 0, 3], "text": ["ab", "", "abc"]}}


def test_what_is_wrong_is_said_over_rest(rest):
    status, error = rest("predict", {"signature_name": "other", "instances": [1.0]})
    assert status == 400
    assert error.startswith(
        "Serving signature name: \"other\" not found in signature def. Expected 'serving_default', "
    )
    status, error = rest("predict", {"signature_name": "counting", "instances": [1.0]}, "module")
    assert "Signature 'counting' cannot be served: It writes to calls, which a server would carry over" in error
    status, error = rest("regress", {"signature_name": "regress_x_to_y", "examples": [{"other": 2.0}]})
    assert (status, "x (data type: float) is required but could not be found" in error) == (400, True)
    status, error = rest("regress", {"signature_name": "classify_x", "examples": [{"x": 2.0}]})
    assert "'regress' is for one number per example" in error
    status, error = rest("classify", {"examples": [{"x": 2.0}]})
    assert "Expected classification signature" in error
    for odd in ([1, "a"], {"x": 1}, 1e300, None):
        status, error = rest("regress", {"signature_name": "regress_x_to_y", "examples": [{"x": odd}]})
        assert (status, "Feature 'x': expected numbers or text of 64 bits" in error) == (400, True), odd


def test_a_signature_is_chosen_over_grpc(stub):
    import tensorflow as tf

    request = named(of("predict_pb2").PredictRequest(), "lengths", "module")
    request.inputs["text"].CopyFrom(tf.make_tensor_proto([b"ab", b"\xff"]))
    request.output_filter.append("length")
    answer = stub.Predict(request)
    assert tf.make_ndarray(answer.outputs["length"]).tolist() == [2, 1]
    assert (answer.model_spec.signature_name, answer.model_spec.version.value) == ("lengths", 123)
    found = stub.Classify(with_examples(named(of("classification_pb2").ClassificationRequest(), "classify_x"), 2.0))
    assert [(c.label, c.score) for c in found.result.classifications[0].classes] == [("low", 3.0), ("high", 4.0)]
    found = stub.Regress(
        with_examples(named(of("regression_pb2").RegressionRequest(), "regress_x_to_z"), 2.0, 4.0, x2=0.5)
    )
    assert [one.value for one in found.result.regressions] == [1.5, 2.5]
    assert found.model_spec.signature_name == "regress_x_to_z"
    with pytest.raises(grpc.RpcError, match="Serving signature key 'other' not found"):
        stub.Predict(named(of("predict_pb2").PredictRequest(), "other"))


def test_several_signatures_answer_one_request(stub):
    request = with_examples(of("inference_pb2").MultiInferenceRequest(), 2.0)
    for signature, method in (("regress_x_to_y", "regress"), ("classify_x", "classify"), ("regress_x_to_z", "regress")):
        named(request.tasks.add(method_name=f"tensorflow/serving/{method}"), signature)
    first, second, third = stub.MultiInference(request).results
    assert first.regression_result.regressions[0].value == 3.0
    assert second.classification_result.classifications[0].classes[1].score == 4.0
    assert third.regression_result.regressions[0].value == 1.0
    assert [r.model_spec.signature_name for r in (first, second, third)] == [
        "regress_x_to_y", "classify_x", "regress_x_to_z"
    ]  # fmt: skip


def test_metadata_list_all_signatures_as_the_file_has_them(server, ask, saved, stub):
    """Compared with what TensorFlow's own definitions read from the file."""
    from google.protobuf.json_format import MessageToDict
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    file = saved("graph") / "saved_model.pb"
    wanted = SavedModel.FromString(file.read_bytes()).meta_graphs[0].signature_def
    request = named(of("get_model_metadata_pb2").GetModelMetadataRequest(metadata_field=["signature_def"]))
    found = of("get_model_metadata_pb2").SignatureDefMap()
    assert stub.GetModelMetadata(request).metadata["signature_def"].Unpack(found)
    assert dict(found.signature_def) == dict(wanted)
    said = ask(server, "GET", "/v1/models/graph/metadata").json
    assert said["model_spec"] == {"name": "graph", "signature_name": "", "version": "123"}
    said = said["metadata"]["signature_def"]["signature_def"]
    assert set(said) == set(wanted)
    for name, signature in wanted.items():
        for side in ("inputs", "outputs"):
            for key, info in getattr(signature, side).items():
                ours, theirs = said[name][side][key], MessageToDict(info, preserving_proto_field_name=True)
                assert (ours["name"], ours["dtype"]) == (theirs["name"], theirs["dtype"])
                dims = theirs["tensor_shape"].get("dim", [])
                assert [d["size"] for d in ours["tensor_shape"]["dim"]] == [d["size"] for d in dims]
        assert said[name]["method_name"] == signature.method_name


def test_versions_and_labels_have_signatures_too(server, ask):
    for place in ("versions/7", "labels/old", "versions/123"):
        path = f"/v1/models/graph/{place}:regress"
        message = {"signature_name": "regress_x_to_y", "examples": [{"x": 2.0}]}
        assert ask(server, "POST", path, message).json == {"results": [3.0]}

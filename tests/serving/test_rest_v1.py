"""TensorFlow Serving's REST protocol on a real server."""

import base64
import math

import numpy as np
import pytest

PREDICT = "/v1/models/cnn:predict"
IMAGE = [[7] * 8] * 8


def test_rows_give_predictions(cnn, ask, golden):
    inputs, outputs = golden(cnn)
    answer = ask(cnn, "POST", PREDICT, {"instances": inputs["image"].tolist()})
    assert answer.status == 200
    assert list(answer.json) == ["predictions"]
    np.testing.assert_array_equal(np.array(answer.json["predictions"], np.float32), outputs["probabilities"])


def test_columns_give_outputs(cnn, ask, golden):
    inputs, outputs = golden(cnn)
    for columns in (inputs["image"].tolist(), {"image": inputs["image"].tolist()}):
        answer = ask(cnn, "POST", PREDICT, {"inputs": columns, "signature_name": "serving_default"})
        assert list(answer.json) == ["outputs"]
        np.testing.assert_array_equal(np.array(answer.json["outputs"], np.float32), outputs["probabilities"])


def test_rows_may_name_the_input(cnn, ask):
    named = ask(cnn, "POST", PREDICT, {"instances": [{"image": IMAGE}, {"image": IMAGE}]})
    plain = ask(cnn, "POST", PREDICT, {"instances": [IMAGE, IMAGE]})
    assert named.status == 200
    assert named.json == plain.json


def test_several_inputs_and_outputs_by_row(two, ask, golden):
    inputs, outputs = golden(two)
    rows = [{k: v[i].tolist() for k, v in inputs.items()} for i in range(8)]
    found = ask(two, "POST", "/v1/models/two:predict", {"instances": rows}).json["predictions"]
    assert [list(row) for row in found] == [["score", "label"]] * 8
    for name in ("score", "label"):
        np.testing.assert_array_equal(np.array([row[name] for row in found], np.float32), outputs[name])


def test_several_inputs_and_outputs_by_column(two, ask, golden):
    inputs, outputs = golden(two)
    columns = {k: v.tolist() for k, v in inputs.items()}
    found = ask(two, "POST", "/v1/models/two:predict", {"inputs": columns}).json["outputs"]
    assert list(found) == ["score", "label"]
    for name, array in outputs.items():
        np.testing.assert_array_equal(np.array(found[name], np.float32), array)


@pytest.mark.parametrize("path", ["/v1/models/cnn", "/v1/models/cnn/versions/1", "/V1/Models/cnn/"])
def test_status(cnn, ask, path):
    answer = ask(cnn, "GET", path)
    assert answer.status == 200
    ok = {"error_code": "OK", "error_message": ""}
    assert answer.json == {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": ok}]}


def test_metadata(cnn, ask):
    answer = ask(cnn, "GET", "/v1/models/cnn/metadata").json
    assert answer["model_spec"] == {"name": "cnn", "signature_name": "", "version": "1"}
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["image"]["dtype"] == "DT_UINT8"
    assert [d["size"] for d in signature["inputs"]["image"]["tensor_shape"]["dim"]] == ["-1", "8", "8"]
    assert signature["outputs"]["probabilities"]["dtype"] == "DT_FLOAT"


@pytest.mark.parametrize("path", ["/V1/MODELS/cnn:PREDICT", "/v1/models/cnn/versions/1:predict", PREDICT])
def test_paths_match_without_regard_to_case(cnn, ask, path):
    assert ask(cnn, "POST", path, {"instances": [IMAGE]}).status == 200


@pytest.mark.parametrize(
    ("method", "path", "servable"),
    [
        ("POST", "/v1/models/dog:predict", "Latest(dog)"),
        ("POST", "/v1/models/CNN:predict", "Latest(CNN)"),
        ("GET", "/v1/models/dog", "Latest(dog)"),
        ("GET", "/v1/models/dog/metadata", "Latest(dog)"),
        ("POST", "/v1/models/cnn/versions/2:predict", "Specific(cnn, 2)"),
    ],
)
def test_a_missing_model_or_version_is_404(cnn, ask, method, path, servable):
    answer = ask(cnn, method, path, {"instances": [IMAGE]} if method == "POST" else None)
    assert answer.status == 404
    assert answer.error == f"Servable not found for request: {servable}. This server has 'cnn', version 1."


def test_not_a_number_goes_in_and_out(log, ask):
    body = b'{"instances": [[NaN, Infinity, -1.0, 1.0], [0.0, 1.0, 2.5, -Infinity]]}'
    answer = ask(log, "POST", "/v1/models/log:predict", body)
    assert answer.status == 200
    assert b"NaN" in answer.body
    assert b"-Infinity" in answer.body
    first, second = answer.json["predictions"]
    assert math.isnan(first[0])
    assert first[1] == math.inf
    assert math.isnan(first[2])
    assert first[3] == 0.0
    assert second[0] == -math.inf
    assert second[2] == pytest.approx(math.log(2.5))
    assert math.isnan(second[3])


def test_text_goes_in_and_out(text, ask):
    encoded = {"b64": base64.b64encode("grün".encode()).decode()}
    answer = ask(text, "POST", "/v1/models/text:predict", {"instances": [["red", encoded], ["", "x"]]})
    assert answer.json == {"predictions": [["red", "grün"], ["", "x"]]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "JSON Parse error: "),
        (b"{", "JSON Parse error: "),
        (b"instances", "JSON Parse error: "),
        (b'{"instances": [nan]}', "JSON Parse error: "),
        (b'{"instances": [NaN', "JSON Parse error: "),
        (b"\xff\xfe", "JSON Parse error: "),
        (b"[" * 100_000, "JSON Parse error: it is nested too deeply."),
        (b'{"instances": ' + b"[" * 100_000 + b"NaN", "JSON Parse error: it is nested too deeply."),
        (
            b"[]",
            "JSON Value: [] Is not object. Expected a JSON object with 'instances' or 'inputs', got an empty list.",
        ),
        (b"null", "Is not object. Expected a JSON object with 'instances' or 'inputs', got null."),
        (b"{}", "Expected either 'instances' (rows) or 'inputs' (columns), got neither."),
        (b'{"instances": [], "inputs": []}', "Expected either 'instances' (rows) or 'inputs' (columns), got both."),
        (b'{"instances": []}', "'instances': expected a list of at least one example, got an empty list."),
        (b'{"instances": 3}', "'instances': expected a list of at least one example, got a number."),
        (b'{"instances": null}', "'instances': expected a list of at least one example, got null."),
        (b'{"instances": {}}', "'instances': expected a list of at least one example, got an object."),
        (b'{"inputs": {}}', "Expected the inputs 'image'; got none."),
        (b'{"inputs": {"picture": []}}', "Expected the inputs 'image'; got 'picture'."),
        (b'{"inputs": []}', "Input 'image': expected shape (batch, 8, 8), got (0,)."),
        (b'{"inputs": 1}', "Input 'image': expected shape (batch, 8, 8), got ()."),
        (b'{"instances": [{"image": []}, 3]}', "'instances': expected objects only, got a number at position 1."),
        (b'{"instances": [{"image": [], "x": 1}]}', "Expected the inputs 'image'; got 'image', 'x'."),
        (
            b'{"instances": [1], "signature_name": "other"}',
            'Serving signature name: "other" not found in signature def. Expected ',
        ),
    ],
)
def test_a_wrong_message_is_400(cnn, ask, body, words):
    answer = ask(cnn, "POST", PREDICT, body)
    assert answer.status == 400
    assert words in answer.error


def image(value):
    return [[[*([0] * 7), value], *([[0] * 8] * 7)]]


@pytest.mark.parametrize(
    ("instances", "words"),
    [
        (IMAGE, "expected shape (batch, 8, 8), got (8, 8). The first dimension is the batch: send a list of examples."),
        ([[[0] * 7] * 8], "expected shape (batch, 8, 8), got (1, 8, 7)."),
        ([[[[0]] * 8] * 8], "expected shape (batch, 8, 8), got (1, 8, 8, 1)."),
        ([[0] * 64], "expected shape (batch, 8, 8), got (1, 64)."),
        ([[[0] * 8] * 7 + [[0] * 7]], "expected a rectangular array, got lists of different lengths or depths"),
        ([[[0] * 8] * 7 + [0]], "expected a rectangular array"),
        ([[0, [0] * 8]], "expected a rectangular array"),
        (image("3"), "expected uint8 (whole or real numbers), got text '3'."),
        (image(None), "expected uint8 (whole or real numbers), got null."),
        (image(255.5), "expected uint8 (0 to 255), got 255.5."),
        (image(-0.25), "expected uint8 (0 to 255), got -0.25."),
        (image(256), "expected uint8 (0 to 255), got 256."),
        (image(-1), "expected uint8 (0 to 255), got -1."),
        (image(10**30), "expected uint8 (0 to 255), got 1e+30."),
        (image({"a": 1}), "expected uint8 (whole or real numbers), got an object"),
        ([[[True] * 8] * 8], "expected uint8 (whole or real numbers), got a truth value True."),
        (image(True), "expected uint8 (whole or real numbers), got a truth value True."),
    ],
)
def test_wrong_values_and_shapes_are_400_with_expected_and_got(cnn, ask, instances, words):
    answer = ask(cnn, "POST", PREDICT, {"instances": instances})
    assert answer.status == 400
    assert "Input 'image': " in answer.error
    assert words in answer.error


def test_whole_numbers_may_be_written_as_real_ones(cnn, ask):
    real = ask(cnn, "POST", PREDICT, b'{"instances": ' + str(image(3.0)).encode() + b"}")
    assert real.status == 200
    assert real.json == ask(cnn, "POST", PREDICT, {"instances": image(3)}).json


def test_several_inputs_must_be_named(two, ask):
    answer = ask(two, "POST", "/v1/models/two:predict", {"instances": [[1, 2, 3, 4]]})
    assert answer.status == 400
    assert answer.error.endswith(". The model takes 2 inputs; expected an object with 'left', 'right'.")
    answer = ask(two, "POST", "/v1/models/two:predict", {"instances": [{"left": [0] * 4}]})
    assert answer.error.endswith(". Expected the inputs 'left', 'right'; got 'left'.")


def test_inputs_must_have_the_same_number_of_examples(two, ask):
    columns = {"left": [[0.0] * 4] * 2, "right": [[0] * 6] * 3}
    answer = ask(two, "POST", "/v1/models/two:predict", {"inputs": columns})
    assert answer.status == 400
    assert answer.error == "Expected the same number of examples in all inputs; 'left' has 2, 'right' has 3."
    answer = ask(two, "POST", "/v1/models/two:predict", {"inputs": {"left": [], "right": []}})
    assert answer.status == 400


@pytest.mark.parametrize("value", [3, None, True, {"b64": "###"}, {"b64": 3}, {"b64": "/w=="}])
def test_wrong_text_is_400(text, ask, value):
    answer = ask(text, "POST", "/v1/models/text:predict", {"instances": [["a", value]]})
    assert answer.status == 400
    assert "Input 'words': " in answer.error

"""TensorFlow Serving's classify and regress, against the model's outputs."""

import json

import numpy as np
import pytest

from deploykit.serving.dataplane import DataPlane
from deploykit.serving.service import Service
from deploykit.testing.graphs import exported, graph, node, value

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def regressing(tmp_path_factory):
    """a (N, 2) float32 and n (N) int64 → y = a₀ + a₁ + n, one value for each; flags (N, 2) bool are only given back."""
    path = graph(
        tmp_path_factory.mktemp("regress"),
        [
            node("Cast", ["n"], ["real"], to=1),
            node("ReduceSum", ["a", "axis"], ["sum"], keepdims=0),
            node("Add", ["sum", "real"], ["y"]),
            node("Cast", ["flags"], ["given"], to=1),
        ],
        [value("a", "float32", "N", 2), value("n", "int64", "N"), value("flags", "bool", "N", 2)],
        [value("y", "float32", "N"), value("given", "float32", "N", 2)],
        axis=[1],
    )
    x = {
        "a": RNG.normal(size=(60, 2)).astype(np.float32),
        "n": RNG.integers(-9, 9, 60),
        "flags": RNG.integers(0, 2, (60, 2)).astype(bool),
    }
    y = (x["a"].sum(1) + x["n"]).astype(np.float32)
    artifact = exported(path, (x, y), output="y", scores="values")
    return Service([DataPlane(artifact)])


def asked(within, service, method, message, model="graph"):
    response = within(service, "POST", f"/v1/models/{model}:{method}", message)
    found = json.loads(response.body)
    return found["results"] if response.status == 200 else found["error"]


def test_regress_gives_one_value_per_example(regressing, within):
    examples = [{"a": [1.5, -2.0], "n": 4, "flags": [0, 1]}, {"a": [0, 1], "n": [-7], "flags": [True, False]}]
    assert asked(within, regressing, "regress", {"examples": examples}) == [3.5, -6.0]


def test_the_context_is_shared_by_all_examples(regressing, within):
    message = {"context": {"n": 10, "flags": [0, 0]}, "examples": [{"a": [0.5, 0.25]}, {"a": [1, 2]}]}
    assert asked(within, regressing, "regress", message) == [10.75, 13.0]


def test_features_that_are_not_inputs_are_ignored(regressing, within):
    example = {"a": [1, 2], "n": 3, "flags": [0, 0], "user": "x", "tags": ["a"]}
    assert asked(within, regressing, "regress", {"examples": [example]}) == [6.0]


@pytest.mark.parametrize("signature", ["", "serving_default"])
def test_classify_gives_all_classes_with_names_in_the_models_order(held, within, made, signature):
    from deploykit.artifacts.arrays import load_arrays

    artifact = made("cnn_onnx")
    images = load_arrays(artifact.path / artifact.manifest.golden_inputs)["image"]
    wanted = load_arrays(artifact.path / artifact.manifest.golden_outputs)["probabilities"]
    message = {"signature_name": signature, "examples": [{"image": i.ravel().tolist()} for i in images]}
    found = asked(within, held, "classify", message, "cnn_onnx")
    assert [[label for label, _ in one] for one in found] == [["boot", "coat", "shirt"]] * len(images)
    np.testing.assert_array_equal(np.array([[score for _, score in one] for one in found], np.float32), wanted)


@pytest.mark.parametrize(
    ("method", "message", "serving", "ours"),
    [
        ("classify", [], "JSON Value: [] Is not object", "Expected a JSON object with 'examples'"),
        (
            "classify",
            {},
            "When method is classify, key 'examples' is expected and was not found",
            "Expected 'examples'",
        ),
        ("classify", {"examples": []}, "'examples' value is an empty array", "got an empty list."),
        ("classify", {"examples": {}}, "Expecting 'examples' value to be an list/array", "got an object."),
        ("classify", {"examples": [3]}, "Example must be JSON object", "got a number."),
        ("classify", {"examples": [{}], "context": []}, "Example must be JSON object", "got an empty list."),
        ("classify", {"examples": [{}]}, "Feature: image (data type: uint8) is required", "has no feature 'image'"),
        ("classify", {"examples": [{"image": [1] * 63}]}, "", "expected 64 values per example, got 63."),
        ("classify", {"examples": [{"image": [1] * 64}, {"image": 1}]}, "", "expected as many values in all examples"),
        ("classify", {"examples": [{"image": [[1] * 64]}]}, "", "expected 64 values per example, got 1."),
        ("classify", {"examples": [{"image": ["a"] * 64}]}, "Type: String is not of expected type: uint8", "'image'"),
        ("classify", {"examples": [{"image": 1}], "context": {"image": 1}}, "", "got 'image' in both."),
        ("classify", {"signature_name": "x", "examples": [1]}, 'Serving signature name: "x" not found', "Expected"),
        ("classify", {"signature_name": 3}, "'signature_name' key must be a string value", "got a number."),
        (
            "regress",
            {},
            "Expected regression signature method_name to be tensorflow/serving/regress",
            "'probabilities'",
        ),
    ],
)
def test_a_wrong_message_is_400_in_tensorflow_servings_words(held, within, method, message, serving, ours):
    response = within(held, "POST", f"/v1/models/cnn_onnx:{method}", message)
    assert response.status == 400
    error = json.loads(response.body)["error"]
    assert serving in error
    assert ours in error


def test_a_model_of_values_does_not_classify(regressing, within):
    error = asked(within, regressing, "classify", {"examples": [{}]})
    assert error.startswith("Expected classification signature method_name to be tensorflow/serving/classify. Was: ")

"""Requests of any tensors and any JSON: right answers, by NumPy, or a refusal; never an internal error."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

often = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FEATURES = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 5), st.just(4)), elements=st.floats(width=32, allow_nan=True)
)
WORDS = arrays.arrays(
    object, st.tuples(st.integers(1, 4), st.just(2)), elements=st.text(st.characters(codec="utf-8"), max_size=40)
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)
NAMES = st.sampled_from(
    ["inputs", "instances", "examples", "name", "shape", "datatype", "data", "parameters", "outputs", "id", "b64",
     "binary_data_size", "classification", "signature_name", "features", "image"]
)  # fmt: skip
#: JSON with the words that the protocols look for.
NEARLY = st.recursive(
    ANYTHING | st.sampled_from(["features", "FP32", "BYTES", "UINT8", "image", 4, [1, 4], [1, 8, 8], 2**63]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=25,
)


def logarithms(x):
    with np.errstate(all="ignore"):
        return np.log(x)


def tensor(x, wire, **more):
    return {"name": "features", "shape": list(x.shape), "datatype": wire, **more}


@often
@given(x=FEATURES)
def test_any_numbers_in_binary(held, within, x):
    head = json.dumps(
        {"inputs": [tensor(x, "FP32", parameters={"binary_data_size": x.nbytes})],
         "parameters": {"binary_data_output": True}}
    ).encode()  # fmt: skip
    length = str(len(head))
    response = within(
        held,
        "POST",
        "/v2/models/log_onnx/infer",
        head + x.astype("<f4").tobytes(),
        Inference_Header_Content_Length=length,
    )
    assert response.status == 200
    length = int(dict(response.headers)[b"inference-header-content-length"])
    found = np.frombuffer(response.body[length:], "<f4").reshape(x.shape)
    np.testing.assert_allclose(found, logarithms(x), rtol=1e-5, atol=1e-6)


@often
@given(x=FEATURES)
def test_any_numbers_as_json(held, within, x):
    """Numbers that are none have their names in JSON, as both protocols write them."""
    for path, body in (
        ("/v2/models/log_onnx/infer", {"inputs": [tensor(x, "FP32", data=x.ravel().tolist())]}),
        ("/v1/models/log_onnx:predict", {"instances": x.tolist()}),
        ("/v1/models/log_onnx:predict", {"inputs": x.tolist()}),
    ):
        response = within(held, "POST", path, json.dumps(body).encode())
        assert response.status == 200
        answer = json.loads(response.body)
        found = answer["outputs"][0]["data"] if "/v2/" in path else answer.get("predictions") or answer["outputs"]
        found = np.array(found, np.float32).reshape(x.shape)
        np.testing.assert_allclose(found, logarithms(x), rtol=1e-5, atol=1e-6)


@often
@given(words=WORDS)
def test_any_words(held, within, words):
    body = {
        "inputs": [{"name": "words", "shape": list(words.shape), "datatype": "BYTES", "data": words.ravel().tolist()}]
    }
    response = within(held, "POST", "/v2/models/text_onnx/infer", body)
    if any("\0" in word for word in words.ravel()):  # the runtime ends a text there
        assert response.status in (200, 400)
        return
    assert json.loads(response.body)["outputs"][0]["data"] == words.ravel().tolist()


@pytest.mark.parametrize(
    "path", ["/v1/models/log_onnx:predict", "/v1/models/cnn_onnx:classify", "/v2/models/log_onnx/infer"]
)
@settings(often, max_examples=150)
@given(body=NEARLY)
def test_anything_else_is_answered_or_refused(held, within, path, body):
    response = within(held, "POST", path, json.dumps(body).encode())
    assert response.status in (200, 400), response
    if response.status == 400:
        (message,) = json.loads(response.body).values()
        assert 0 < len(message) < 1500


@settings(often, max_examples=200)
@given(
    shape=st.lists(st.integers(-(2**64), 2**64) | st.integers(-2, 9), max_size=70), size=st.integers(0, 200),
    wire=st.sampled_from(["FP32", "INT64", "BYTES", "BOOL", "FP16"]), claimed=st.integers(-5, 2**65) | st.none(),
)  # fmt: skip
def test_no_shape_overflows(held, within, shape, size, wire, claimed):
    blob = bytes(size)
    found = {"name": "features", "shape": shape, "datatype": wire}
    found["parameters"] = {"binary_data_size": size if claimed is None else claimed}
    head = json.dumps({"inputs": [found]}).encode()
    response = within(
        held, "POST", "/v2/models/log_onnx/infer", head + blob, Inference_Header_Content_Length=str(len(head))
    )
    right = shape[1:] == [4] and len(shape) == 2 and shape[0] > 0 and claimed in (None, size)
    if not (right and wire in ("FP32", "INT64", "FP16")):
        assert response.status == 400
    assert response.status in (200, 400)

"""The Open Inference Protocol v2 on a real server."""

import json

import numpy as np
import pytest

from deploykit import __version__

INFER = "/v2/models/cnn/infer"
EXTENSIONS = ["binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics"]


def tensor(**changes):
    return {"name": "image", "shape": [1, 8, 8], "datatype": "UINT8", "data": [1] * 64, **changes}


def without(name):
    return {k: v for k, v in tensor().items() if k != name}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/cnn/ready", {"name": "cnn", "ready": True}),
        ("/v2/models/cnn/versions/1/ready", {"name": "cnn", "ready": True}),
        ("/V2/Health/Ready", {"ready": True}),
        ("/v2", {"name": "deploykit", "version": __version__, "extensions": EXTENSIONS}),
        ("/v2/", {"name": "deploykit", "version": __version__, "extensions": EXTENSIONS}),
    ],
)
def test_health_and_server(cnn, ask, path, body):
    answer = ask(cnn, "GET", path)
    assert (answer.status, answer.json) == (200, body)
    head = ask(cnn, "HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(answer.body))


@pytest.mark.parametrize("path", ["/v2/models/cnn", "/v2/models/cnn/versions/1"])
def test_model_metadata(cnn, ask, path):
    assert ask(cnn, "GET", path).json == {
        "name": "cnn",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 8, 8]}],
        "outputs": [
            {
                "name": "probabilities",
                "datatype": "FP32",
                "shape": [-1, 3],
                "parameters": {"classes": ["boot", "coat", "shirt"]},
            }
        ],
    }


@pytest.mark.parametrize("nested", [False, True])
def test_infer_with_json(cnn, ask, golden, nested):
    inputs, outputs = golden(cnn)
    images = inputs["image"]
    data = images.tolist() if nested else images.ravel().tolist()
    message = {"id": "42", "inputs": [tensor(shape=list(images.shape), data=data)]}
    answer = ask(cnn, "POST", INFER, message)
    assert answer.status == 200
    assert {k: v for k, v in answer.json.items() if k != "outputs"} == {
        "model_name": "cnn",
        "model_version": "1",
        "id": "42",
    }
    (output,) = answer.json["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("probabilities", "FP32", [8, 3])
    np.testing.assert_array_equal(np.array(output["data"], np.float32), outputs["probabilities"].ravel())


def binary(tensors, blobs, **message):
    head = json.dumps({"inputs": tensors, **message}).encode()
    return head + b"".join(blobs), {"Inference_Header_Content_Length": str(len(head))}


def test_infer_with_binary_tensors(two, ask, golden):
    inputs, outputs = golden(two)
    blobs = [v.astype(v.dtype.newbyteorder("<")).tobytes() for v in inputs.values()]
    tensors = [
        {"name": n, "shape": list(v.shape), "datatype": t, "parameters": {"binary_data_size": len(b)}}
        for (n, v), t, b in zip(inputs.items(), ("FP32", "INT64"), blobs, strict=True)
    ]
    wanted = [{"name": "label", "parameters": {"binary_data": True}}, {"name": "score"}]
    body, headers = binary(tensors, blobs, outputs=wanted)
    answer = ask(two, "POST", "/v2/models/two/infer", body, **headers)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers["inference-header-content-length"])
    label, score = json.loads(answer.body[:length])["outputs"]
    assert label["parameters"]["binary_data_size"] == len(answer.body) - length
    found = np.frombuffer(answer.body[length:], "<f4").reshape(label["shape"])
    np.testing.assert_array_equal(found, outputs["label"])
    np.testing.assert_array_equal(np.array(score["data"], np.float32), outputs["score"].ravel())


def test_binary_and_json_tensors_in_one_request(two, ask, golden):
    inputs, outputs = golden(two)
    left = inputs["left"].astype("<f4").tobytes()
    tensors = [
        {"name": "right", "shape": [8, 6], "datatype": "INT64", "data": inputs["right"].tolist()},
        {"name": "left", "shape": [8, 4], "datatype": "FP32", "parameters": {"binary_data_size": len(left)}},
    ]
    body, headers = binary(tensors, [left])
    found = ask(two, "POST", "/v2/models/two/infer", body, **headers).json["outputs"]
    assert [o["name"] for o in found] == ["score", "label"]
    np.testing.assert_array_equal(np.array(found[1]["data"], np.float32), outputs["label"].ravel())


def test_text_as_json_and_binary(text, ask):
    words = {"name": "words", "shape": [1, 2], "datatype": "BYTES"}
    answer = ask(text, "POST", "/v2/models/text/infer", {"inputs": [{**words, "data": ["a", "grün"]}]})
    assert answer.json["outputs"][0]["data"] == ["a", "grün"]
    blob = b"\x01\x00\x00\x00a\x05\x00\x00\x00gr\xc3\xbcn"
    body, headers = binary(
        [{**words, "parameters": {"binary_data_size": len(blob)}}], [blob], parameters={"binary_data_output": True}
    )
    answer = ask(text, "POST", "/v2/models/text/infer", body, **headers)
    length = int(answer.headers["inference-header-content-length"])
    assert answer.body[length:] == blob


def test_not_a_number_comes_out_of_json(log, ask):
    features = {"name": "features", "shape": [1, 4], "datatype": "FP32", "data": [1, 0, -1, 1]}
    answer = ask(log, "POST", "/v2/models/log/infer", {"inputs": [features]})
    assert b"[0.0, -Infinity, NaN, 0.0]" in answer.body


@pytest.mark.parametrize("path", ["/v2/models/dog/infer", "/v2/models/cnn/versions/7/infer", "/v2/models/dog/ready"])
def test_a_missing_model_is_404(cnn, ask, path):
    answer = ask(cnn, "POST", path, {"inputs": [tensor()]})
    assert answer.status == 404
    assert "This server has 'cnn', version 1." in answer.error


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ([], "Expected a JSON object with 'inputs', a list of tensors."),
        ({}, "Expected a JSON object with 'inputs', a list of tensors."),
        ({"inputs": {}}, "Expected a JSON object with 'inputs', a list of tensors."),
        ({"inputs": []}, "Expected the inputs 'image'; got none."),
        ({"inputs": [3]}, "'inputs': expected objects with name, shape, datatype and data."),
        ({"inputs": [tensor(name="picture")]}, "Unknown input 'picture'; expected 'image'."),
        ({"inputs": [tensor(name=["image"])]}, "Unknown input ['image']; expected 'image'."),
        ({"inputs": [tensor(), tensor()]}, "Input 'image' is given twice."),
        ({"inputs": [tensor(datatype="BOOL")]}, "Input 'image': expected datatype UINT8, got 'BOOL'."),
        ({"inputs": [tensor(datatype="BYTES")]}, "Input 'image': expected string (text), got a number 1."),
        ({"inputs": [tensor(datatype="FP8")]}, "expected datatype UINT8, got 'FP8'; datatypes are BOOL, UINT8"),
        ({"inputs": [tensor(datatype="BF16")]}, "BF16 has no form in JSON; send it as binary data."),
        ({"inputs": [without("datatype")]}, "expected datatype UINT8, got None"),
        ({"inputs": [without("shape")]}, "expected 'shape', a list of whole numbers, got None."),
        ({"inputs": [tensor(shape=[-1, 8, 8])]}, "expected 'shape', a list of whole numbers, got [-1, 8, 8]."),
        ({"inputs": [tensor(shape=[True, 8, 8])]}, "expected 'shape', a list of whole numbers"),
        ({"inputs": [tensor(shape=[1, 64])]}, "Input 'image': expected shape (batch, 8, 8), got (1, 64)."),
        ({"inputs": [tensor(shape=[2, 8, 8])]}, "Input 'image': expected data of shape (2, 8, 8), got (64,)."),
        ({"inputs": [tensor(data=[[0] * 32] * 2)]}, "expected data of shape (1, 8, 8), got (2, 32)."),
        ({"inputs": [tensor(shape=[0, 8, 8], data=[])]}, "Expected at least one example, got none."),
        ({"inputs": [without("data")]}, "expected 'data', a list, or the parameter binary_data_size."),
        ({"inputs": [tensor(data=[0.5] * 64)]}, "expected uint8 (whole numbers), got a real number 0.5."),
        ({"inputs": [tensor(datatype="FP32", data=[-1.5] * 64)]}, "expected uint8 (0 to 255), got -1.5."),
        ({"inputs": [tensor(data=[300] * 64)]}, "expected uint8 (0 to 255), got 300."),
        ({"inputs": [tensor(data=["1"] * 64)]}, "expected uint8 (whole numbers), got text '1'."),
        ({"inputs": [tensor(parameters=3)]}, "Input 'image': expected 'parameters' to be an object."),
        ({"inputs": [tensor()], "parameters": []}, "The request: expected 'parameters' to be an object."),
        ({"inputs": [tensor()], "outputs": [{"name": "x"}]}, "Unknown output 'x'; expected 'probabilities'."),
        ({"inputs": [tensor()], "outputs": "all"}, "'outputs': expected a list of objects."),
        ({"inputs": [tensor()], "id": 3}, "'id': expected text, got 3."),
        (
            {"inputs": [tensor(parameters={"binary_data_size": 64})]},
            "Input 'image': binary_data_size is 64, 0 bytes of binary data are left.",
        ),
    ],
)
def test_a_wrong_message_is_400_with_expected_and_got(cnn, ask, message, words):
    answer = ask(cnn, "POST", INFER, message)
    assert answer.status == 400
    assert words in answer.error


def test_data_in_json_beside_binary_data_are_400(cnn, ask):
    body, headers = binary([tensor(parameters={"binary_data_size": 64})], [bytes(64)])
    assert "either 'data' or binary_data_size, got both" in ask(cnn, "POST", INFER, body, **headers).error


@pytest.mark.parametrize(
    ("size", "blob", "words"),
    [
        (60, bytes(60), "UINT8 of shape [1, 8, 8] needs 64 bytes, got 60."),
        (64, bytes(70), "The inputs name 64 bytes of binary data, the body has 70."),
        (-1, bytes(64), "binary_data_size is -1, 64 bytes of binary data are left."),
        ("64", bytes(64), "binary_data_size is '64', 64 bytes of binary data are left."),
        (10**9, bytes(64), "binary_data_size is 1000000000, 64 bytes of binary data are left."),
    ],
)
def test_wrong_binary_data_are_400(cnn, ask, size, blob, words):
    body, headers = binary([{**without("data"), "parameters": {"binary_data_size": size}}], [blob])
    answer = ask(cnn, "POST", INFER, body, **headers)
    assert answer.status == 400
    assert words in answer.error


@pytest.mark.parametrize("length", ["-1", "x", "100000", "1.5", ""])
def test_a_wrong_length_of_the_json_part_is_400(cnn, ask, length):
    answer = ask(cnn, "POST", INFER, b"{}", Inference_Header_Content_Length=length)
    assert answer.status == 400
    assert (
        f"Inference-Header-Content-Length: expected a number up to the body's 2 bytes, got {length!r}." in answer.error
    )


@pytest.mark.parametrize("blob", [b"\x01", b"\x05\x00\x00\x00ab", b"\x01\x00\x00\x00a", b""])
def test_broken_binary_text_is_400(text, ask, blob):
    words = {"name": "words", "shape": [1, 2], "datatype": "BYTES", "parameters": {"binary_data_size": len(blob)}}
    body, headers = binary([words], [blob])
    answer = ask(text, "POST", "/v2/models/text/infer", body, **headers)
    assert answer.status == 400
    assert "BYTES" in answer.error


def test_triton_clients_read_configuration_and_index(two, ask):
    found = ask(two, "GET", "/v2/models/two/config").json
    assert found["input"] == [
        {"name": "left", "data_type": "TYPE_FP32", "dims": [-1, 4]},
        {"name": "right", "data_type": "TYPE_INT64", "dims": [-1, 6]},
    ]
    assert [t["dims"] for t in found["output"]] == [[-1, 1], [-1, 3]]
    model = {"name": "two", "version": "1", "state": "READY", "reason": ""}
    assert ask(two, "POST", "/v2/repository/index", b"{}").json == [model]


@pytest.mark.parametrize("path", ["/v2/models/stats", "/v2/models/cnn/stats", "/v2/models/cnn/versions/1/stats"])
def test_statistics_are_those_of_predictions(cnn, ask, path):
    def read():
        (found,) = ask(cnn, "GET", path).json["model_stats"]
        assert (found["name"], found["version"]) == ("cnn", "1")
        return found

    before = read()
    examples = [tensor(), tensor(shape=[3, 8, 8], data=[1] * 192), tensor()]
    for message in ({"inputs": [one]} for one in examples):
        assert ask(cnn, "POST", INFER, message).status == 200
    ask(cnn, "POST", "/v2/repository/index")
    after = read()
    assert after["inference_count"] - before["inference_count"] == 5
    assert after["execution_count"] - before["execution_count"] == 3
    assert list(after["inference_stats"]) == [
        "success", "fail", "queue", "compute_input", "compute_infer", "compute_output",
    ]  # fmt: skip
    took = {}
    for stage in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        earlier, later = (some["inference_stats"][stage] for some in (before, after))
        assert later["count"] - earlier["count"] == 3
        took[stage] = later["ns"] - earlier["ns"]
    assert took.pop("success") == pytest.approx(sum(took.values()), abs=20)  # each is rounded to a nanosecond


def test_brain_floats_are_taken_where_the_model_takes_real_numbers(log, ask):
    half = np.array([1.0, 2.5, 0.5, 8.0], np.float32)
    blob = (half.view(np.uint32) >> 16).astype("<u2").tobytes()
    features = {"name": "features", "shape": [1, 4], "datatype": "BF16", "parameters": {"binary_data_size": len(blob)}}
    body, headers = binary([features], [blob])
    found = ask(log, "POST", "/v2/models/log/infer", body, **headers).json["outputs"][0]["data"]
    np.testing.assert_allclose(found, np.log(half), rtol=1e-6)
    wrong = {**features, "parameters": {"binary_data_size": 6}}
    body, headers = binary([wrong], [blob[:6]])
    assert (
        "BF16 of shape [1, 4] needs 8 bytes, got 6." in ask(log, "POST", "/v2/models/log/infer", body, **headers).error
    )


def test_classes_can_be_asked_for_all_outputs_at_once(cnn, ask):
    found = ask(cnn, "POST", INFER, {"inputs": [tensor()], "parameters": {"classification": 2}}).json["outputs"]
    assert [(o["datatype"], o["shape"]) for o in found] == [("BYTES", [1, 2])]


def test_classes_of_the_outputs_that_are_asked_for(two, ask):
    given = {"right": ("INT64", [1] * 6), "left": ("FP32", [1] * 4)}
    inputs = [{"name": n, "datatype": d, "shape": [1, len(v)], "data": v} for n, (d, v) in given.items()]

    def infer(*outputs):
        body = {"inputs": inputs, "parameters": {"classification": 2}, "outputs": list(outputs)}
        return ask(two, "POST", f"/v2/models/{two.name}/infer", body)

    one = {"name": "label", "parameters": {"classification": 1}}
    found = [[o["shape"] for o in infer(*outputs).json["outputs"]] for outputs in ((), ({"name": "label"},), (one,))]
    assert found == [[[1, 1], [1, 2]], [[1, 2]], [[1, 1]]]
    answer = infer({"name": "score"})
    assert answer.status == 400
    assert "'classification' is for class scores" in answer.error


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"inputs": [tensor()], "outputs": [{"name": []}]}, "Unknown output []; expected 'probabilities'."),
        (
            {"inputs": [tensor()], "outputs": [{"name": "probabilities"}] * 2},
            "Output 'probabilities' is asked for twice.",
        ),
        ({"inputs": [tensor(datatype=[])]}, "expected datatype UINT8, got []; datatypes are BOOL, "),
        ({"inputs": [tensor(shape=[1] * 65)]}, "expected a shape of at most 64 dimensions, got 65."),
        ({"inputs": [tensor(shape=[0, 2**62, 4], data=[])]}, "expected a shape of at most "),
        (
            {"inputs": [tensor()], "parameters": {"binary_data_output": 1}},
            "'binary_data_output' to be true or false, got 1",
        ),
        (
            {"inputs": [tensor()], "parameters": {"classification": 0}},
            "'classification' to be a whole number, 1 or more",
        ),
        ({"inputs": [tensor()], "outputs": {}}, "'outputs': expected a list of objects."),
        ({"inputs": [tensor()], "outputs": False}, "'outputs': expected a list of objects."),
        (
            {"inputs": [tensor(parameters={"shared_memory_region": "r", "shared_memory_byte_size": 64})]},
            "Input 'image': shared_memory_region is not supported; send and take the data themselves.",
        ),
        (
            {
                "inputs": [tensor()],
                "outputs": [{"name": "probabilities", "parameters": {"shared_memory_region": "r"}}],
            },
            "Output 'probabilities': shared_memory_region is not supported",
        ),
    ],
)
def test_values_of_other_kinds_are_400(cnn, ask, message, words):
    answer = ask(cnn, "POST", INFER, message)
    assert answer.status == 400
    assert words in answer.error


def test_a_length_of_thousands_of_digits_is_400(cnn, ask):
    answer = ask(cnn, "POST", INFER, b"{}", Inference_Header_Content_Length="9" * 5000)
    assert answer.status == 400
    assert "Inference-Header-Content-Length: expected a number up to the body's 2 bytes, got '999" in answer.error


def pair(left, right, *, tail=b"", **fields):
    """A request of ``two`` in binary tensors, and the length of its JSON."""
    tensors = [
        {"name": n, "datatype": d, "shape": list(a.shape), "parameters": {"binary_data_size": a.nbytes}}
        for n, d, a in (("right", "INT64", right), ("left", "FP32", left))
    ]
    head = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}, **fields}).encode()
    return head + right.tobytes() + left.tobytes() + tail, str(len(head))


def test_a_request_like_one_before_is_read_for_itself(two, ask):
    """The second and third requests have the JSON of the first: their numbers are their own, and their faults too."""
    rng = np.random.default_rng(5)
    for _ in range(3):
        left, right = rng.normal(size=(2, 4)).astype("f4"), rng.integers(0, 9, (2, 6))
        body, length = pair(left, right)
        answer = ask(two, "POST", "/v2/models/two/infer", body, Inference_Header_Content_Length=length)
        assert answer.status == 200
        size = int(answer.headers["inference-header-content-length"])
        score, label = json.loads(answer.body[:size])["outputs"]
        blob = answer.body[size:]
        assert [score["name"], label["name"]] == ["score", "label"]
        cut = score["parameters"]["binary_data_size"]
        wanted = two.predict({"left": left, "right": right})
        for tensor, data in ((score, blob[:cut]), (label, blob[cut:])):
            found = np.frombuffer(data, {"FP32": "f4", "INT64": "i8"}[tensor["datatype"]]).reshape(tensor["shape"])
            np.testing.assert_array_equal(found, wanted[tensor["name"]])
    for tail in (b"x", b"x" * 100):
        body, length = pair(left, right, tail=tail)
        answer = ask(two, "POST", "/v2/models/two/infer", body, Inference_Header_Content_Length=length)
        assert (answer.status, "bytes of binary data, the body has" in answer.error) == (400, True)
    body, length = pair(left, right)
    answer = ask(two, "POST", "/v2/models/two/infer", body[:-4], Inference_Header_Content_Length=length)
    assert (answer.status, "binary_data_size is 32, 28 bytes" in answer.error) == (400, True)
    body, length = pair(left, right, id="7")
    answer = ask(two, "POST", "/v2/models/two/infer", body, Inference_Header_Content_Length=length)
    assert json.loads(answer.body[: int(answer.headers["inference-header-content-length"])])["id"] == "7"

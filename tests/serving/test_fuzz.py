"""Thousands of broken requests in one process: each is answered or refused for a reason, none is an internal error."""

import io
import json
import random

import pytest
from PIL import Image

VALUES = [
    None, True, False, 0, -1, 2**31, 2**63, 2**64, -(2**63) - 1, 1e39, 1e308, 0.5, float("nan"), float("inf"), "", "x",
    "\ud800", "\0", "é" * 99, [], {}, [[]], [{}], {"b64": "AA=="}, {"b64": 3}, {"b64": "é"}, [1, [2]], "BYTES", "FP64",
    "BF16", [[[[[[1]]]]]], [0, 2**63], [0, 2**62, 4], [1] * 65, "serving_default", {"classification": 2},
    {"classification": -1}, {"binary_data_size": 7}, {"binary_data": 1}, {"sequence_id": 1}, 10**400,
]  # fmt: skip
KEYS = ["instances", "inputs", "examples", "context", "signature_name", "classification", "name", "shape", "datatype",
        "data", "parameters", "outputs", "id", "image", "left", "right", "words", "features", "b64"]  # fmt: skip


def changed(value, rng):
    """Plain data with something else somewhere in it."""
    if rng.random() < 0.25 or not isinstance(value, list | dict) or not value:
        return rng.choice(VALUES)
    if isinstance(value, list):
        place = rng.randrange(len(value))
        if rng.random() < 0.15:
            return value[:place] + value[place + 1 :]
        if rng.random() < 0.15:
            return value[:place] + [value[place]] * 3 + value[place + 1 :]
        return [changed(v, rng) if i == place else v for i, v in enumerate(value)]
    key = rng.choice(list(value))
    if rng.random() < 0.2:
        return {k: v for k, v in value.items() if k != key}
    if rng.random() < 0.2:
        return {**value, rng.choice(KEYS): rng.choice(VALUES)}
    return {k: changed(v, rng) if k == key else v for k, v in value.items()}


def damaged(body, rng):
    """Bytes with some of them changed, cut off or doubled."""
    body = bytearray(body)
    for _ in range(rng.randrange(1, 6)):
        place = rng.randrange(len(body) + 1)
        way = rng.randrange(4)
        if way == 0 and body:
            body[place % len(body)] = rng.randrange(256)
        elif way == 1:
            del body[place : place + rng.randrange(1, 20)]
        elif way == 2:
            body[place:place] = rng.choice(
                [b"[" * 70, b"{", b"NaN", b"\xff", b"\\ud8", b"9" * 400, b"-", b"e9", b"\0" * 9]
            )
        else:
            body[place:place] = body[place // 2 : place]
    return bytes(body)


def png():
    file = io.BytesIO()
    Image.new("L", (8, 8), 7).save(file, "PNG")
    return file.getvalue()


def form(*parts):
    lines = [
        b"--b\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + content + b"\r\n" for head, content in parts
    ]
    return b"".join(lines) + b"--b--\r\n"


IMAGE = [[7] * 8] * 8
MESSAGES = [
    ("/v1/models/cnn_onnx:predict", {"instances": [IMAGE]}),
    ("/v1/models/cnn_onnx:predict", {"inputs": {"image": [IMAGE]}, "classification": 2}),
    ("/v1/models/cnn_onnx:classify", {"examples": [{"image": [7] * 64}], "context": {}}),
    ("/v1/models/two_inputs_onnx:predict", {"instances": [{"left": [1.0] * 4, "right": [2] * 6}] * 2}),
    ("/v1/models/log_onnx:predict", {"instances": [[1.0, 2.0, 3.0, 4.0]], "signature_name": "serving_default"}),
    ("/v1/models/text_onnx:predict", {"instances": [["a", {"b64": "YQ=="}]]}),
    ("/v2/models/cnn_onnx/infer", {
        "id": "1", "inputs": [{"name": "image", "shape": [1, 8, 8], "datatype": "UINT8", "data": [1] * 64}],
        "outputs": [{"name": "probabilities", "parameters": {"classification": 1}}],
    }),
    ("/v2/models/text_onnx/infer", {"inputs": [
        {"name": "words", "shape": [1, 2], "datatype": "BYTES", "data": ["a", "b"]},
    ]}),
    ("/v2/models/two_inputs_onnx/infer", {"inputs": [
        {"name": "left", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]},
        {"name": "right", "shape": [1, 6], "datatype": "INT64", "data": [1] * 6},
    ]}),
]  # fmt: skip


def check(response):
    assert response.status in (200, 400), response
    if response.status == 400:
        (message,) = json.loads(response.body).values()
        assert message[0].isupper() or message.startswith(("'", "instances")), message
        assert len(message) < 1500, message


@pytest.mark.parametrize(("path", "message"), MESSAGES)
def test_changed_messages(held, within, path, message):
    rng = random.Random(0)
    for _ in range(400):
        found = message
        for _ in range(rng.randrange(1, 4)):
            found = changed(found, rng)
        check(within(held, "POST", path, found))


@pytest.mark.parametrize(("path", "message"), MESSAGES)
def test_damaged_json(held, within, path, message):
    rng = random.Random(1)
    for _ in range(150):
        check(within(held, "POST", path, damaged(json.dumps(message).encode(), rng)))


@pytest.mark.parametrize("wire", ["FP32", "FP16", "BF16", "UINT8", "BOOL", "BYTES", "INT64"])
def test_damaged_binary_data(held, within, wire):
    rng = random.Random(wire)
    for _ in range(150):
        blob = bytes(rng.randrange(256) for _ in range(rng.choice([16, 64, 128, 256])))
        shape = rng.choice([[1, 8, 8], [2, 8, 8], [1], [1, 4]])
        size = rng.choice([len(blob), len(blob), 64, 0])
        tensor = {"name": "image", "shape": shape, "datatype": wire, "parameters": {"binary_data_size": size}}
        head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        length = rng.choice([len(head), len(head), len(head) - 1, 10**9, "9" * 5000, "²", "-1"])
        body = damaged(head + blob, rng) if rng.random() < 0.3 else head + blob
        name = {"Inference_Header_Content_Length": str(length)}
        check(within(held, "POST", "/v2/models/cnn_onnx/infer", body, **name))


@pytest.mark.parametrize(
    "path", ["/v1/models/cnn_onnx:predict", "/v1/models/cnn_onnx:classify", "/v2/models/cnn_onnx/infer"]
)
def test_damaged_images_and_forms(held, within, path):
    rng = random.Random(path)
    whole = form((b'name="file"; filename="a.png"\r\nContent-Type: image/png', png()), (b'name="classification"', b"1"))
    assert within(held, "POST", path, whole, Content_Type="multipart/form-data; boundary=b").status == 200
    assert within(held, "POST", path, png(), Content_Type="image/png").status == 200
    for _ in range(250):
        check(within(held, "POST", path, damaged(png(), rng), Content_Type="image/png"))
        kind = rng.choice(
            ["multipart/form-data; boundary=b"] * 5 + ["multipart/form-data", 'multipart/form-data; boundary="']
        )
        check(within(held, "POST", path, damaged(whole, rng), Content_Type=kind))

"""Images and forms in, names out: what a client uploads is what the same numbers would have given."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image, ImageOps

import deploykit as dk
from deploykit.serving.dataplane import DataPlane
from deploykit.serving.service import Service
from deploykit.testing.graphs import exported, graph, node, value

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (8, 8)).astype(np.uint8)
COLOR = RNG.integers(0, 256, (6, 5, 3)).astype(np.uint8)
CNN = "/v1/models/cnn_onnx:predict"


def encoded(pixels, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def form(*parts):
    """(field, content) or (field, content, file name) as a browser sends them."""
    lines = b""
    for field, content, *name in parts:
        kind = f'; filename="{name[0]}"\r\nContent-Type: application/octet-stream' if name else ""
        lines += f'--XX\r\nContent-Disposition: form-data; name="{field}"{kind}\r\n\r\n'.encode() + content + b"\r\n"
    return lines + b"--XX--\r\n"


FORM = {"Content_Type": "multipart/form-data; boundary=XX"}


@pytest.fixture(scope="module")
def summing(tmp_path_factory):
    """Makes services of a graph that adds up each channel of images."""

    def make(images, preprocess=None, dims=(4, 4, 3), dtype="float32", labels=None):
        folder = tmp_path_factory.mktemp("sum")
        axes = [1, 2] if dims[-1] == 3 else [2, 3]
        nodes = [node("Cast", ["x"], ["real"], to=1), node("ReduceSum", ["real", "axes"], ["y"], keepdims=0)]
        path = graph(folder, nodes, [value("x", dtype, "N", *dims)], [value("y", "float32", "N", 3)], axes=axes)
        data = dk.Dataset.from_arrays(images, labels, preprocess=preprocess)
        return Service([DataPlane(exported(path, data))])

    return make


def answer(within, service, path, body, **headers):
    response = within(service, "POST", path, body, **headers)
    found = json.loads(response.body)
    assert response.status == 200, found
    return found


def refused(within, service, path, body, **headers):
    response = within(service, "POST", path, body, **headers)
    assert response.status == 400
    return json.loads(response.body)["error"]


def test_one_image_in_any_way_is_what_its_numbers_are(held, within):
    wanted = answer(within, held, CNN, {"instances": [GRAY.tolist()]})["predictions"]
    data = encoded(GRAY)
    text = base64.b64encode(data).decode()
    colored = np.stack([GRAY] * 3, -1)
    for body, headers in [
        ({"instances": [{"b64": text}]}, {}),
        ({"instances": [{"image": {"b64": text}}]}, {}),
        (data, {"Content_Type": "image/png"}),
        (encoded(GRAY, "BMP"), {"Content_Type": "image/bmp"}),
        (encoded(colored), {"Content_Type": "IMAGE/PNG"}),
        (form(("image", data, "a.png")), FORM),
        (form(("anything", data, "a.png")), FORM),
        (form(("image", json.dumps(GRAY.tolist()).encode())), FORM),
    ]:
        assert answer(within, held, CNN, body, **headers) == {"predictions": wanted}
    found = answer(within, held, CNN, {"inputs": [{"b64": text}] * 2})
    assert found == {"outputs": wanted * 2}
    found = answer(within, held, CNN, form(("f", data, "a.png"), ("f", data, "b.png")), **FORM)
    assert found == {"predictions": wanted * 2}


def test_images_are_bytes_of_the_protocol_v2(held, within):
    data = encoded(GRAY)
    path = "/v2/models/cnn_onnx/infer"
    pixels = {"name": "image", "shape": [1, 8, 8], "datatype": "UINT8", "data": GRAY.ravel().tolist()}
    wanted = answer(within, held, path, {"inputs": [pixels]})
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES"}
    in_json = {**tensor, "data": [base64.b64encode(data).decode()]}
    assert answer(within, held, path, {"inputs": [in_json]}) == wanted
    blob = len(data).to_bytes(4, "little") + data
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": len(blob)}}]}).encode()
    assert answer(within, held, path, head + blob, Inference_Header_Content_Length=str(len(head))) == wanted
    assert answer(within, held, path, data, Content_Type="image/png") == wanted
    assert answer(within, held, path, form(("image", data, "a.png")), **FORM) == wanted


def test_the_best_classes_come_with_names_when_asked(held, within):
    scores = answer(within, held, CNN, {"instances": [GRAY.tolist()]})["predictions"][0]
    order = np.argsort(scores)[::-1][:2].tolist()
    wanted = [[{"label": ("boot", "coat", "shirt")[i], "index": i, "score": scores[i]} for i in order]]
    data = encoded(GRAY)
    image = {"Content_Type": "image/png"}
    assert answer(within, held, CNN, {"instances": [GRAY.tolist()], "classification": 2}) == {"predictions": wanted}
    assert answer(within, held, CNN, data, **image, Inference_Classification="2") == {"predictions": wanted}
    body = form(("image", data, "a.png"), ("classification", b"2"))
    assert answer(within, held, CNN, body, **FORM) == {"predictions": wanted}
    found = answer(within, held, "/v1/models/cnn_onnx:classify", data, **image)
    assert found == {"results": [list(map(list, zip(("boot", "coat", "shirt"), scores, strict=True)))]}
    found = answer(within, held, "/v2/models/cnn_onnx/infer", body, **FORM)
    assert [text.split(":")[1:] for text in found["outputs"][0]["data"]] == [
        [str(o["index"]), o["label"]] for o in wanted[0]
    ]
    said = refused(within, held, CNN, body, Inference_Classification="3", **FORM)
    assert said == "'classification': got '2' in the form and '3' in the header; expected it once."


@pytest.mark.parametrize("count", [0, -1, "2", 1.5, True, [1]])
def test_a_wrong_number_of_classes_is_refused(held, within, count):
    message = {"instances": [GRAY.tolist()], "classification": count}
    assert "expected 'classification' to be a whole number, 1 or more" in refused(within, held, CNN, message)


def test_classes_are_not_named_where_there_are_none(held, within):
    message = {"instances": [[1, 1, 1, 1]], "classification": 1}
    assert "'classification' is for class scores" in refused(within, held, "/v1/models/log_onnx:predict", message)


@pytest.mark.parametrize("first", [False, True])
def test_preprocessing_of_the_manifest_is_what_an_image_goes_through(summing, within, first):
    images = RNG.integers(0, 256, (60, 6, 5, 3)).astype(np.uint8)
    steps = dk.Preprocess(scale=1 / 255, resize=(4, 4), channels="reversed", layout="channels_first" if first else None)
    service = summing(images, steps, (3, 4, 4) if first else (4, 4, 3))
    small = np.asarray(Image.fromarray(COLOR).resize((4, 4), Image.Resampling.BILINEAR), np.float64)
    large = np.asarray(Image.fromarray(np.tile(COLOR, (3, 2, 1))).resize((4, 4), Image.Resampling.BILINEAR), np.float64)
    parts = [("a", encoded(COLOR), "a.png"), ("a", encoded(np.tile(COLOR, (3, 2, 1))), "b.png")]
    for body, wanted in ((form(parts[0]), [small]), (form(*parts), [small, large])):
        found = answer(within, service, "/v1/models/graph:predict", body, **FORM)["predictions"]
        np.testing.assert_allclose(found, [w.sum((0, 1))[::-1] / 255 for w in wanted], rtol=1e-5)


def test_images_are_fitted_between_gray_bars_as_they_were_for_the_sweep(summing, within):
    images = RNG.integers(0, 256, (60, 4, 8, 3)).astype(np.uint8)
    service = summing(images, dk.Preprocess(scale=1 / 255, resize=(4, 8), fit="letterbox"), (4, 8, 3))
    tall = np.tile(COLOR, (2, 1, 1))
    padded = [
        ImageOps.pad(Image.fromarray(p), (8, 4), Image.Resampling.BILINEAR, color=(114,) * 3) for p in (COLOR, tall)
    ]
    wanted = [np.asarray(p, np.float64).sum((0, 1)) / 255 for p in padded]
    body = form(("a", encoded(COLOR), "a.png"), ("a", encoded(tall), "b.png"))
    found = answer(within, service, "/v1/models/graph:predict", body, **FORM)["predictions"]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    rows = answer(within, service, "/v1/models/graph:predict", {"instances": [tall.tolist()]})["predictions"]
    np.testing.assert_allclose(rows, wanted[1:], rtol=1e-5)


def test_gray_images_are_widened_and_turned_as_in_a_folder(summing, within):
    service = summing(RNG.integers(0, 256, (60, 4, 4, 3)).astype(np.uint8), dk.Preprocess(scale=1.0, offset=1.0))
    gray = RNG.integers(0, 256, (4, 4)).astype(np.uint8)
    found = answer(within, service, "/v1/models/graph:predict", encoded(gray), Content_Type="image/png")
    assert found["predictions"] == [[float(gray.sum(dtype=np.int64)) + 16] * 3]


def test_bytes_that_the_model_takes_as_real_numbers_are_known_by_its_examples(summing, within):
    whole = RNG.integers(0, 256, (60, 4, 4, 3)).astype(np.float32)
    pixels = RNG.integers(0, 256, (4, 4, 3)).astype(np.uint8)
    sent = {"Content_Type": "image/png"}
    found = answer(within, summing(whole), "/v1/models/graph:predict", encoded(pixels), **sent)["predictions"]
    assert found == [pixels.sum((0, 1), dtype=np.int64).astype(float).tolist()]
    error = refused(within, summing(whole / 255), "/v1/models/graph:predict", encoded(pixels), **sent)
    assert error.startswith("Input 'x' does not take images: its raw examples are float32 and not the bytes 0 to 255")
    assert "dk.Preprocess(scale=1 / 255)" in error


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is not a readable image: it is empty"),
        (b"GIF", "is not a readable image: expected PNG, JPEG, BMP"),
        (encoded(GRAY)[:60], "is not a readable image: "),
        (encoded(np.tile(GRAY, (2, 1))), "expected an image of 8 × 8 pixels, got 8 × 16; scale it, or export with"),
        (encoded(COLOR), "expected an image of 8 × 8 pixels, got 5 × 6"),
        (
            encoded(RNG.integers(0, 256, (8, 8, 3)).astype(np.uint8)),
            "the model takes gray images, and this one has colors",
        ),
        (encoded(np.zeros((8, 8), np.uint16)), "expected 8 bits per channel, got an image of uint16"),
    ],
)
def test_what_does_not_suit_the_model_is_refused_with_the_remedy(held, within, data, words):
    assert words in refused(within, held, CNN, data, Content_Type="image/png")
    assert words in refused(within, held, CNN, {"instances": [{"b64": base64.b64encode(data).decode()}]})


def test_an_image_bomb_is_refused_before_it_is_decoded(summing, within):
    file = io.BytesIO()
    Image.new("1", (9000, 9000)).save(file, "PNG")
    assert len(file.getvalue()) < 20_000
    images = RNG.integers(0, 256, (60, 6, 5, 3)).astype(np.uint8)
    service = summing(images, dk.Preprocess(resize=(4, 4), scale=0.5))
    error = refused(within, service, "/v1/models/graph:predict", file.getvalue(), Content_Type="image/png")
    assert "expected at most 67,108,864 pixels in a request" in error


def test_a_form_holds_a_row_of_a_table(held, within):
    path = "/v1/models/two_inputs_onnx:predict"
    wanted = answer(within, held, path, {"instances": [{"left": [1, 2, 3.5, 4], "right": [1, 2, 3, 4, 5, 6]}]})
    body = form(("left", b"1, 2, 3.5, 4"), ("right", b"[1, 2, 3, 4, 5, 6]"))
    assert answer(within, held, path, body, **FORM) == wanted
    body = form(("features", b"1, 1, 1e999, 1"))  # beyond what any float holds, and not infinity
    assert "expected float32 (real numbers)" in refused(within, held, "/v1/models/log_onnx:predict", body, **FORM)
    body = form(("words", b'["red", "gr\xc3\xbcn"]'))
    assert answer(within, held, "/v1/models/text_onnx:predict", body, **FORM) == {"predictions": [["red", "grün"]]}


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"", "multipart/form-data", "expected a 'boundary' of 1 to 70 characters"),
        (b"", "multipart/form-data; boundary=XX", "the body is cut off, has more, or another boundary"),
        (form(("image", b"1"))[:-5], "multipart/form-data; boundary=XX", "the body is cut off"),
        (form(("image", b"1"), ("image", b"2")), "multipart/form-data; boundary=XX", "Field 'image' is given twice."),
        (form(("image", b"1", "a"), ("image", b"2")), "multipart/form-data; boundary=XX", "is a file and a text"),
        (form(("image", b"\xff")), "multipart/form-data; boundary=XX", "expected text in UTF-8"),
        (form(*[("image", b"1", "a")] * 300), "multipart/form-data; boundary=XX", "expected 1 to 256 fields"),
        (
            form(("x", b"1", "a"), ("y", b"1")),
            "multipart/form-data; boundary=XX",
            "Expected the inputs 'image'; got 'x', 'y'",
        ),
        (
            b"--XX\r\n\r\n1\r\n--XX--",
            "multipart/form-data; boundary=XX",
            "expected a Content-Disposition with a 'name'",
        ),
        (form(("classification", b"1")), "multipart/form-data; boundary=XX", "Expected the inputs 'image'; got none."),
        (
            form(("classification", b"x"), ("image", b"1")),
            "multipart/form-data; boundary=XX",
            "expected a whole number",
        ),
    ],
)
def test_a_broken_form_is_refused(held, within, body, kind, words):
    assert words in refused(within, held, CNN, body, Content_Type=kind)


def test_curl_may_call_json_a_form(held, within):
    """``curl -d`` does not say that it sends JSON."""
    message = {"instances": [GRAY.tolist()]}
    kind = "application/x-www-form-urlencoded"
    assert answer(within, held, CNN, message, Content_Type=kind) == answer(within, held, CNN, message)

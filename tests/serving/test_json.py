"""JSON bodies: one meaning whichever parser reads them, and no body that costs more than it should."""

import asyncio
import base64
import gc
import io
import json
import math
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from deploykit.serving.faults import InvalidInputError, shown
from deploykit.serving.wires._json import MOST_LISTS, MOST_VALUES, read_json, write_json
from deploykit.serving.wires.rest_v1 import ADAPTER

NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    NUMBERS | st.booleans() | st.none() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=20,
)


def meant(value):
    """What the JSON of a value means: whole numbers beyond 64 bits are real ones."""
    if isinstance(value, list):
        return [meant(v) for v in value]
    if isinstance(value, dict):
        return {k: meant(v) for k, v in value.items()}
    beyond = type(value) is int and not -(2**63) <= value < 2**64
    return float(value) if beyond else value


def same(a, b):
    return type(a) is type(b) and (
        len(a) == len(b) and all(map(same, a, b)) if isinstance(a, list) else
        a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items()) if isinstance(a, dict) else
        a == b and math.copysign(1, a) == math.copysign(1, b) if isinstance(a, float) else a == b
    )  # fmt: skip


@given(VALUES)
def test_both_parsers_give_the_same(value):
    text = json.dumps(value).encode()
    assert same(read_json(text), meant(value))
    fast, slow = read_json(b"[" + text + b",0]"), read_json(b"[" + text + b",NaN]")
    assert same(fast[0], slow[0])


@given(st.lists(st.floats(width=32) | st.floats()))
def test_values_that_are_not_numbers_go_both_ways(values):
    array = np.array(values)
    text = write_json({"x": array}, {"x": array})
    np.testing.assert_array_equal(np.array(json.loads(text)["x"]), array)
    np.testing.assert_array_equal(np.array(read_json(text)["x"]), array)


@pytest.mark.parametrize("array", [np.zeros((3, 2)).T, np.zeros((2, 0)), np.array(7.5)])
def test_any_array_can_be_written(array):
    assert json.loads(write_json({"x": array}, {})) == {"x": array.tolist()}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "The document is empty at offset: 0"),
        (b'{"a": 1e400}', "number is out of range at offset: "),
        (b"[NaN, " + b"9" * 400 + b"]", "is out of range"),
        (b"[NaN, " + b"9" * 5000 + b"]", "is out of range"),
        (b"[1e400, NaN]", "is out of range"),
        (b"[" * 1025 + b"]" * 1025, "it is nested too deeply"),
        (b"[" * 9999 + b"NaN" + b"]" * 9999, "it is nested too deeply"),
        (b'["\\ud800"]', "surrogate"),
        (b'["\\ud800", NaN]', "it holds half of a surrogate pair"),
        (b"\xef\xbb\xbf{}", "at offset: 0"),
        (b'["\xff"]', "UTF-8"),
        (b'["\xff", NaN]', "utf-8"),
    ],
)
def test_what_is_not_json_is_refused_with_the_reason(body, words):
    with pytest.raises(InvalidInputError, match=r"^JSON Parse error: ") as caught:
        read_json(body)
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("part", "what", "most"),
    [
        (b"[],", "lists and objects", MOST_LISTS),
        (b"{},", "lists and objects", MOST_LISTS),
        (b"1,", "values", MOST_VALUES),
    ],
)
def test_bodies_of_more_lists_or_values_than_an_example_can_have_are_not_parsed(part, what, most):
    body = b"[" + part * (most + 1) + b"1]"
    with pytest.raises(InvalidInputError, match=f"Expected at most {most:,} {what} in a JSON body, got "):
        read_json(body)


def test_the_collector_is_on_again_after_a_large_body():
    assert gc.isenabled()
    assert len(read_json(b"[" + b"[1]," * 100_000 + b"1]")) == 100_001
    assert gc.isenabled()
    with pytest.raises(InvalidInputError):
        read_json(b"[" + b"[1]," * 100_000 + b"1")
    assert gc.isenabled()


def nested(depth):
    found = []
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([-1, 8, 8], "[-1, 8, 8]"),
        (nested(2000), "[[[[…]]]]"),
        (list(range(20)), "[0, 1, 2, 3, 4, 5, 6, 7, …]"),
        ({"a": 1, "b": [2], "c": None, "d": 4}, "{'a': 1, 'b': [2], 'c': None, …}"),
        ("a" * 99, "'" + "a" * 60 + "'…"),
        (2**300, "a number of 301 bits"),
        ("\ud800", r"'\ud800'"),
        ("grün", "'grün'"),
    ],
)
def test_values_are_shown_shortly(value, text):
    assert shown(value) == text


def large():
    """More than is read between two turns of the event loop: 2,000 images."""
    return json.dumps({"instances": [[[7] * 8] * 8] * 2000}).encode()


def image():
    file = io.BytesIO()
    Image.new("L", (8, 8), 7).save(file, "PNG")
    return json.dumps({"instances": [{"b64": base64.b64encode(file.getvalue()).decode()}]}).encode()


@pytest.mark.parametrize("body", [large(), image()], ids=["large", "image"])
def test_what_takes_long_to_read_holds_up_no_other_request(held, body):
    handler = ADAPTER.endpoint("/v1/models/cnn_onnx:predict", held).handler
    small = json.dumps({"instances": [[[7] * 8] * 8]}).encode()
    free = threading.Event()

    async def exchange():
        busy = asyncio.create_task(held.model("cnn_onnx").plane.reading(lambda: free.wait(60)))
        slow = asyncio.create_task(handler(body, []))
        for _ in range(50):
            quick = await handler(small, [])
        assert not slow.done()
        free.set()
        await busy
        return quick, await slow

    quick, slow = asyncio.run(exchange())
    wanted = json.loads(quick.body)["predictions"][0]
    np.testing.assert_allclose(json.loads(slow.body)["predictions"][-1], wanted, rtol=1e-5)

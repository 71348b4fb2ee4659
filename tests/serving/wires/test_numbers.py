"""Requests that are read by their numbers alone mean what they mean when they are read as a whole."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploykit.core.model import TensorSpec
from deploykit.serving.batches import Batch
from deploykit.serving.wires._numbers import Forms

DTYPES = ("float32", "float64", "int8", "int32", "int64", "uint8")
SHAPE = (2, 3, 4)


class Model(SimpleNamespace):
    """As much of a served model as is looked at."""


def model_of(dtype):
    """A model with one input ``x``."""
    return Model(plane=SimpleNamespace(inputs={"x": TensorSpec("x", (None, *SHAPE[1:]), dtype)}))


def learned(dtype, text, array):
    model, forms = model_of(dtype), Forms(b'"data"')
    forms.learn(model, text, Batch({"x": array}, len(array)), "said", meaning(dtype))
    return model, forms


def meaning(dtype):
    def read(text):
        data = json.loads(text)["inputs"][0]["data"]
        return Batch({"x": np.array(data, dtype).reshape(SHAPE)}, SHAPE[0])

    return read


def request(data, space=""):
    return f'{{"inputs": [{{"name": "x1e", "shape": [2, 3, 4], "data":{space}{data}}}]}}'.encode()


numbers = st.one_of(
    st.integers(-(2**70), 2**70), st.floats(allow_nan=True, allow_infinity=True), st.booleans(), st.none(), st.text()
)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_is_read_is_what_it_says(dtype, data):
    first = np.arange(24, dtype=dtype).reshape(SHAPE)
    model, forms = learned(dtype, request(json.dumps(first.tolist())), first)
    values = data.draw(st.one_of(st.lists(numbers, min_size=24, max_size=24), st.just(list(range(24)))))
    if data.draw(st.booleans()):
        values = [data.draw(st.integers(-300, 300)) if dtype[0] in "iu" else data.draw(st.floats(-1e39, 1e39))] * 24
    nested = np.array(values, object).reshape(SHAPE).tolist()
    text = request(
        json.dumps(nested, separators=data.draw(st.sampled_from([(",", ":"), (", ", ": "), ("\n,\t", ":")])))
    )
    found = forms.read(model, text)
    if found is None:
        return
    array = found[0].arrays["x"]
    wanted = np.array(values, np.float64 if dtype[0] == "f" else object).reshape(SHAPE)
    assert not any(type(value) in (bool, str, type(None)) for value in values)
    assert array.dtype == dtype
    assert found[1] == "said"
    if dtype[0] in "iu":
        assert array.astype(object).tolist() == wanted.tolist()
    else:
        assert np.isfinite(array).all()
        np.testing.assert_array_equal(array, wanted.astype(dtype))


def test_ordinary_requests_are_read_this_way():
    pytest.importorskip("simdjson")
    first = np.zeros(SHAPE, np.float32)
    model, forms = learned("float32", request(json.dumps(first.tolist())), first)
    other = np.random.default_rng(0).normal(size=SHAPE).astype("f4")
    batch, _ = forms.read(model, request(json.dumps(other.tolist())))
    np.testing.assert_array_equal(batch.arrays["x"], other)
    assert (batch.count, batch.kind) == (2, Batch({"x": other}, 2).kind)


@pytest.mark.parametrize(
    "text",
    [
        request(json.dumps(np.zeros(SHAPE).tolist())).replace(b"x1e", b"x2e"),  # another name
        request(json.dumps(np.zeros(SHAPE).tolist())).replace(b"[2, 3, 4]", b"[2, 4, 3]"),
        request(json.dumps(np.zeros((2, 4, 3)).tolist())),  # as many numbers, nested otherwise
        request(json.dumps(np.zeros(24).tolist())),
        request(json.dumps([[[1] * 4] * 3, [[1] * 4, [1] * 5, [1] * 3]])),
        request(json.dumps(np.zeros(SHAPE).tolist())) + b"x",
        request(json.dumps(np.zeros(SHAPE).tolist()).replace("0.0", "1e39")),
        request(json.dumps(np.zeros(SHAPE).tolist()).replace("0.0", "1-1", 1)),
        request(json.dumps(np.zeros(SHAPE).tolist()).replace("0.0", "01", 1)),
        request(json.dumps(np.zeros(SHAPE).tolist()).replace("0.0", "NaN", 1)),
        request(json.dumps(np.zeros(SHAPE).tolist()).replace("0.0", "true", 1)),
        request(json.dumps(np.zeros(SHAPE).tolist()).replace("0.0", '"0"', 1)),
        request(json.dumps(np.zeros(SHAPE).tolist()).replace("0.0", "", 1)),
    ],
)
def test_what_is_not_alike_is_left_to_others(text):
    first = np.zeros(SHAPE, np.float32)
    model, forms = learned("float32", request(json.dumps(first.tolist())), first)
    assert forms.read(model, request(json.dumps(first.tolist()))) is not None
    assert forms.read(model, text) is None


FLAT = (1, 24)


def flat_learned():
    first = np.arange(24, dtype="f4").reshape(FLAT)
    model = Model(plane=SimpleNamespace(inputs={"x": TensorSpec("x", (None, 24), "float32")}))
    forms = Forms(b'"data"')

    def read(text):
        return Batch({"x": np.array(json.loads(text)["inputs"][0]["data"], "f4").reshape(FLAT)}, 1)

    forms.learn(model, request(json.dumps(first.tolist())), Batch({"x": first}, 1), "said", read)
    return model, forms


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), ("\n,\t", ":")])
def test_a_single_list_of_numbers_is_read_as_it_is(separators):
    pytest.importorskip("simdjson")
    model, forms = flat_learned()
    other = np.random.default_rng(0).normal(size=FLAT).astype("f4")
    batch, said = forms.read(model, request(json.dumps(other.tolist(), separators=separators)))
    np.testing.assert_array_equal(batch.arrays["x"], other)
    assert (batch.count, said) == (1, "said")


@pytest.mark.parametrize(
    "data",
    [
        str([[1] * 23]),  # fewer, more, none
        str([[1] * 25]),
        "[[]]",
        str([1] * 24),  # in another depth
        str([[[1] * 24]]),
        str([[1] * 12, [1] * 12]),
        str([[1] * 23 + [[1]]]),
        "[[" + "1," * 23 + "true]]",  # no numbers
        "[[" + "1," * 23 + "null]]",
        "[[" + "1," * 23 + '"1"]]',
        "[[" + "1," * 23 + '"["]]',
        "[[" + "1," * 23 + "{}]]",
        "[[" + "1," * 23 + "1e39]]",
        "[[" + "1," * 24 + "]]",  # no JSON
        "[[" + "1," * 23 + "1]",
        "[[" + "1," * 23 + "1]]]",
        "[[" + "1," * 23 + "1]]1",
        "[[" + "1," * 22 + "1 1]]",
    ],
)
def test_a_single_list_that_is_not_alike_is_left_to_others(data):
    model, forms = flat_learned()
    assert forms.read(model, request(data)) is None


def test_another_model_reads_for_itself():
    first = np.zeros(SHAPE, np.float32)
    text = request(json.dumps(first.tolist()))
    _, forms = learned("float32", text, first)
    assert forms.read(model_of("float32"), text) is None


@pytest.mark.parametrize("dtype", ["bool", "string", "uint64", "float16"])
def test_what_must_be_looked_at_one_by_one_is_not_learned(dtype):
    first = np.zeros(SHAPE, "U1" if dtype == "string" else dtype)
    text = request(json.dumps(np.zeros(SHAPE).tolist()))
    model, forms = learned(dtype, text, first)
    assert forms.read(model, text) is None


def test_real_numbers_for_an_input_of_whole_ones_are_left_to_others():
    """Preprocessing may take both: whole numbers get the input's dtype, as they do when they are read as a whole."""
    first = np.zeros(SHAPE, np.uint8)
    model, forms = learned("uint8", request(json.dumps(first.tolist())), first)
    assert forms.read(model, request(json.dumps(first.tolist()).replace("0", "7")))[0].arrays["x"].tolist() == (
        np.full(SHAPE, 7).tolist()
    )
    assert forms.read(model, request(json.dumps((first + 0.5).tolist()))) is None
    text = request(json.dumps((first + 0.5).tolist()))
    forms.learn(model, text, Batch({"x": first + np.float32(0.5)}, 2), "said", meaning("float32"))
    assert forms.read(model, text) is None


def test_where_no_request_is_like_another_few_are_remembered():
    pytest.importorskip("simdjson")
    first, asked = np.zeros(SHAPE, np.float32), []
    model, forms = model_of("float32"), Forms(b'"data"')

    def learn(number):
        text = request(json.dumps(first.tolist())).replace(b"x1e", b"%d" % number)
        if forms.read(model, text) is None:
            forms.learn(model, text, Batch({"x": first}, 2), "said", lambda t: asked.append(number) or meaning("f4")(t))

    for number in range(2000):
        learn(number)
    assert len(asked) < 200, "each takes as long as the request itself"
    for number in range(2000, 2100):
        learn(number % 3)
    asked.clear()
    for number in range(3000, 3300):  # others that come between do not stop those that come again from being found
        learn(number)
        learn(number % 3)
    assert set(asked) >= {3299}
    assert forms.read(model, request(json.dumps(first.tolist())).replace(b"x1e", b"1")) is not None


def test_numbers_that_do_not_count_are_not_taken_for_those_that_do(log, ask):
    """The same list stands twice in the first requests; in the next ones the two differ."""
    first, other = (np.full((5, 4), value, np.float32).tolist() for value in (2, 3))
    rows = ('{{"note": {}, "instances": {}}}', '{{"instances": {}, "instances": {}}}')
    tensor = '{{"name": "features", "shape": [5, 4], "datatype": "FP32", "data": {}}}'
    tensors = ('{{"parameters": {{"data": {}}}, "inputs": [' + tensor + "]}}",)
    for path, texts in ((f"/v1/models/{log.name}:predict", rows), (f"/v2/models/{log.name}/infer", tensors)):
        for text in texts:
            for noted, counted in ((first, first), (first, first), (other, first), (first, other)):
                answer = ask(log, "POST", path, text.format(noted, counted).encode()).json
                found = answer["predictions"] if "predictions" in answer else answer["outputs"][0]["data"]
                np.testing.assert_allclose(np.ravel(found), np.log(np.ravel(counted)), 1e-6)

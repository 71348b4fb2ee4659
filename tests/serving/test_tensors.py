"""Tensors in and out of JSON and of binary data, against NumPy's own reading of them."""

import base64
import json
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from deploykit.artifacts.wire import DATATYPES, from_bytes, to_bytes
from deploykit.core.model import TensorSpec
from deploykit.serving.faults import InvalidInputError
from deploykit.serving.tensors import converted, from_lists, to_json
from deploykit.serving.wires._json import read_json, write_json

INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
REALS = ["float16", "float32", "float64"]
DTYPES = [*INTEGERS, *REALS, "bool"]
SHAPES = arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)


def examples(*dtypes):
    return st.sampled_from(dtypes).flatmap(lambda dtype: arrays.arrays(dtype, SHAPES))


def spec(dtype):
    return TensorSpec("x", None, dtype)


def identical(found, wanted):
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)
    if wanted.dtype.kind == "f":
        np.testing.assert_array_equal(
            np.signbit(found), np.signbit(wanted) & ~np.isnan(wanted) | np.signbit(found) & np.isnan(wanted)
        )


@given(examples(*DTYPES))
def test_every_value_of_every_dtype_goes_through_json_unchanged(array):
    text = write_json({"x": to_json("x", array)}, {"x": array})
    assert text.replace(b" ", b"") == json.dumps({"x": array.tolist()}, separators=(",", ":")).encode() or b"e" in text
    identical(np.array(json.loads(text)["x"], array.dtype).reshape(array.shape), array)
    value = read_json(text)["x"]
    if 0 in array.shape:
        return  # lists do not show the sizes behind an empty one
    identical(from_lists(value, spec(array.dtype.name)), array)
    flat = read_json(json.dumps(array.ravel().tolist()).encode())
    identical(from_lists(flat, spec(array.dtype.name), array.shape), array)


@given(examples(*DTYPES))
def test_every_value_of_every_dtype_goes_through_binary_data_unchanged(array):
    data = to_bytes(array)
    assert data == array.astype(array.dtype.newbyteorder("<")).tobytes()
    identical(from_bytes(data, DATATYPES[array.dtype.name], array.shape).astype(array.dtype), array)


@given(st.lists(st.binary() | st.text(st.characters(exclude_categories=["Cs"])), max_size=5))
def test_texts_and_bytes_go_through_binary_data_unchanged(values):
    array = np.empty(len(values), object)
    array[:] = values
    raw = [v if isinstance(v, bytes) else v.encode() for v in values]
    data = to_bytes(array)
    assert data == b"".join(len(v).to_bytes(4, "little") + v for v in raw)
    found = from_bytes(data, "BYTES", array.shape).tolist()
    assert [v if isinstance(v, bytes) else v.encode() for v in found] == raw
    coded = [{"b64": base64.b64encode(v).decode()} for v in raw]
    found = from_lists(coded, spec("string")).tolist()
    assert [v if isinstance(v, bytes) else v.encode() for v in found] == raw


@given(st.binary(max_size=40))
def test_brain_floats_are_read(data):
    data = data[: len(data) // 2 * 2]
    wanted = [struct.unpack("<f", b"\0\0" + data[i : i + 2])[0] for i in range(0, len(data), 2)]
    found = from_bytes(data, "BF16", [len(data) // 2])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array(wanted, np.float32))


@given(examples(*INTEGERS, *REALS), st.sampled_from([*INTEGERS, *REALS]))
def test_no_number_changes_silently(array, dtype):
    try:
        found = converted(array, spec(dtype))
    except InvalidInputError:
        # There was a reason: a number that the dtype does not hold.
        limits = np.finfo(dtype) if dtype in REALS else np.iinfo(dtype)
        exact = [_exact(v) for v in array.ravel().tolist()]
        top = Fraction(float(limits.max)) if dtype in REALS else Fraction(int(limits.max))
        bottom = Fraction(float(limits.min)) if dtype in REALS else Fraction(int(limits.min))
        whole = dtype in INTEGERS or array.dtype.kind in "iu"
        assert any(v is None or not bottom <= v <= top or (whole and _loses(v, dtype)) for v in exact)
        return
    assert found.dtype == dtype
    for before, after in zip(array.ravel().tolist(), found.ravel().tolist(), strict=True):
        if array.dtype.kind == "f" and found.dtype.kind == "f":
            np.testing.assert_array_equal(np.array(before).astype(dtype), np.array(after, dtype))
            assert np.isinf(before) == np.isinf(after)
        else:
            assert _exact(before) == _exact(after)


def _exact(value):
    return Fraction(value) if np.isfinite(value) else None


def _loses(value, dtype):
    return value.denominator != 1 if dtype in INTEGERS else Fraction(float(np.dtype(dtype).type(int(value)))) != value


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("[9223372036854775808]", "int64"),
        ("[9223372036854775808.0]", "int64"),
        ("[-9223372036854775809]", "int64"),
        ("[18446744073709551616]", "uint64"),
        ("[18446744073709551616, 1.0]", "uint64"),
        ("[1, 1e30]", "int64"),
        ("[1e39]", "float32"),
        ("[-1e39, 0.5]", "float32"),
        ("[65520]", "float16"),
        ("[3.4028235677973366e+38]", "float32"),
    ],
)
def test_what_is_out_of_range_is_refused(text, dtype):
    with pytest.raises(InvalidInputError, match=f"expected {dtype} "):
        from_lists(read_json(text.encode()), spec(dtype))


def test_large_whole_numbers_beside_real_ones_keep_their_digits():
    found = from_lists(read_json(b"[9007199254740993, 2.0, -9007199254740993]"), spec("int64"))
    assert found.tolist() == [9007199254740993, 2, -9007199254740993]


def nested(depth, leaf):
    for _ in range(depth):
        leaf = [leaf]
    return leaf


@pytest.mark.parametrize(
    ("dtype", "leaf"), [("float32", 1.5), ("bool", True), ("string", "a"), ("string", {"b64": "YQ=="})]
)
def test_as_many_dimensions_as_an_array_can_have(dtype, leaf):
    assert from_lists(nested(64, leaf), spec(dtype)).shape == (1,) * 64
    for depth in (65, 1000):
        with pytest.raises(InvalidInputError, match="expected at most 64 dimensions, got more"):
            from_lists(nested(depth, leaf), spec(dtype))


@pytest.mark.parametrize("shape", [(1,) * 65, (0, 2**63), (2**63, 0), (0, 2**62, 4), (2**31, 2**31)])
def test_shapes_that_no_array_has_are_refused(shape):
    with pytest.raises(InvalidInputError, match="Input 'x': expected a shape of at most "):
        from_lists([], spec("float32"), shape)
    for wire in ("FP32", "BYTES", "BF16"):
        with pytest.raises(ValueError, match="expected a shape of at most "):
            from_bytes(b"", wire, shape)


@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [
        ("3", "uint8", 'JSON Value: "3" Type: String is not of expected type: uint8'),
        (None, "float32", "JSON Value: null Type: Null is not of expected type: float"),
        (True, "float64", "JSON Value: true Type: True is not of expected type: double"),
        ({"a": 1}, "float16", "Type: Object is not of expected type: half"),
        (2, "string", "JSON Value: 2 Type: Number is not of expected type: string"),
        (256, "uint8", "JSON Value: 256 Type: Number is not of expected type: uint8"),
        (1e39, "float32", "Cannot convert JSON value: 1e+39 to float without loss of precision."),
        ({"b64": "#"}, "string", "Unable to base64 decode"),
    ],
)
def test_errors_have_the_words_of_tensorflow_serving(value, dtype, words):
    with pytest.raises(InvalidInputError) as caught:
        from_lists([value], spec(dtype))
    assert words in caught.value.serving

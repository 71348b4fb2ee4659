from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from deploykit.core.errors import SettingError
from deploykit.core.serial import Plain, dump, from_plain, parse, to_plain


@dataclass(frozen=True)
class Point(Plain):
    x: float
    shape: tuple[int | None, ...] = ()


def test_numpy_values_and_paths_have_a_json_form():
    data = {"a": np.float32(0.5), "b": np.arange(3), "c": Path("x/y"), "d": Point(1.0, (None, 2))}
    assert parse(dump(data)) == {"a": 0.5, "b": [0, 1, 2], "c": str(Path("x/y")), "d": {"x": 1.0, "shape": [None, 2]}}
    assert to_plain(np.int64(3)) == 3


def test_what_has_no_json_form_is_an_error():
    with pytest.raises(TypeError, match="object has no JSON form"):
        dump({"a": object()})


def test_not_a_number_becomes_null():
    assert parse(dump([float("nan"), float("inf")])) == [None, None]


def test_a_wrong_field_is_named():
    with pytest.raises(SettingError, match=r"Not a valid Point: Expected `float`, got `str` - at `\$\.x`"):
        from_plain(Point, {"x": "far"})


def test_unknown_fields_of_a_newer_version_are_passed_over():
    assert Point.from_json({"x": 1, "color": "red"}) == Point(1.0)


@pytest.mark.parametrize("text", [b"", b"{", b"nan", b"[" * 100_000, b"\xff"])
def test_broken_text_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        parse(text)

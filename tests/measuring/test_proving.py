"""Two files give the same function, or it is said which output differs."""

import numpy as np
import pytest

from deploykit.core.errors import CandidateError
from deploykit.measuring.proving import compare

G = np.random.default_rng(0)
A, B = G.normal(size=(40, 3)).astype("f"), G.normal(size=(40, 3)).astype("f")


def test_rounding_is_the_same_function():
    found = {"a": A * (1 + 1e-6), "b": B}
    assert 0 < compare({"a": A, "b": B}, found, half=False) < 1e-5


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"a": B, "b": A}, r"'a' is off by up to .* of its range; it holds what 'b' should"),
        ({"a": A}, r"output 'b' is missing; 'a' is right"),
        ({"a": A, "b": B[:, :2]}, r"'b' has shape \(2,\) instead of \(3,\)"),
        ({"a": A, "b": np.where(B.max() == B, np.nan, B)}, r"'b' is off without bound"),
        ({"a": A, "b": B + 0.5}, r"'b' is off by up to [\d.]+ % of its range; 'a' is right"),
    ],
)
def test_outputs_that_differ_are_named(found, message):
    with pytest.raises(CandidateError, match=message):
        compare({"a": A, "b": B}, found, half=False)


def test_half_precision_rounds_more():
    coarse = {"a": A.astype(np.float16).astype(np.float32) * 1.005}
    with pytest.raises(CandidateError):
        compare({"a": A}, coarse, half=False)
    assert compare({"a": A}, coarse, half=True) < 0.03


@pytest.mark.parametrize("wanted", [np.array([1, 2, 3, 4]), np.array([b"x", b"y", b"z", b""], object)])
def test_classes_and_text_are_equal_or_not(wanted):
    assert compare({"a": wanted}, {"a": wanted.copy()}, half=False) == 0
    with pytest.raises(CandidateError):
        compare({"a": wanted}, {"a": wanted[::-1].copy()}, half=False)


def test_infinities_are_values():
    wanted = np.where(A > 1, -np.inf, A)
    assert compare({"a": wanted}, {"a": wanted.copy()}, half=False) == 0
    with pytest.raises(CandidateError):
        compare({"a": wanted}, {"a": A}, half=False)

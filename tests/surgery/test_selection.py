"""What a text selects: names, types, and kinds in words; all but some of them."""

import pytest

from deploykit.core.errors import SettingError
from deploykit.surgery.selection import Selectable, excluded

PARTS = (
    Selectable("first", "Conv", kind="convolution"),
    Selectable("dw", "Conv", kind="depthwise"),
    Selectable("relu", "Relu", kind="activation", follows=True),
    Selectable("dense layers", "Own", kind="other"),
    Selectable("head", "Gemm", kind="dense"),
)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("first", {"first"}),
        ("Conv", {"first", "dw"}),
        ("depthwise convolutions", {"dw"}),
        ("convolutions, head", {"first", "head"}),
        ("!convolutions", {"dw", "dense layers", "head"}),
        ("dense layers", {"dense layers", "head"}),
        ("", set()),
    ],
)
def test_what_a_text_selects(text, left):
    assert excluded(text, PARTS, "node", "operator") == left


@pytest.mark.parametrize("text", ["attention layers", "convolution", "other", "!Softmax"])
def test_what_the_model_does_not_have_is_refused(text):
    with pytest.raises(SettingError, match=f"no node and no operator '{text.lstrip('!')}'"):
        excluded(text, PARTS, "node", "operator")

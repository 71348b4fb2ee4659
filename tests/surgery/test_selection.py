"""What a text selects: names, types, and kinds in words; all but some of them."""

import pytest

from deploykit.core.errors import SettingError
from deploykit.core.model import Layer
from deploykit.surgery.selection import Selectable, excluded, unsuited

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


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("", True),
        ("backbone/conv", True),
        ("conv", True),  # TF-MOT calls layers of inner models by their names alone
        ("backbone", True),
        ("Functional", True),
        ("Conv2D_7", True),  # a node without a name has that of its type and a number
        ("!convolutions, head", True),
        ("conv_7", False),
        ("head, dense layers", False),
        ("conv1", False),  # a path of PyTorch's names one node
    ],
)
def test_names_that_a_model_cannot_have_are_known_before_building(text, known):
    layers = [
        Layer("backbone/conv", "Conv2D", None, 9, "convolution"),
        Layer("/conv1/Conv", "Conv", None, 9, "convolution"),
        Layer("head", "Own", None, 9, "other"),
    ]
    found = list(unsuited(text, layers, "layer", "layer type"))
    assert bool(found) != known
    assert all(text.split(", ")[-1] in problem.reason for problem in found)
    assert not list(unsuited(text, [], "layer", "layer type")), "of a model without a list of layers nothing is known"

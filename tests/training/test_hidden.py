"""Comparing hidden layers, beside NumPy; and which layers a setting names."""

import re

import numpy as np
import pytest

from deploykit.core.errors import SettingError, UnsupportedModelError
from deploykit.testing import work
from deploykit.training.hidden import Attention, Similarity, hidden_goal, matching
from deploykit.training.targets import Values


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def loss(goal, wanted, found, **options):
    given = {"goal": goal, "options": options, "wanted": wanted.tolist(), "found": found.tolist()}
    return work.run("training:loss", "tensorflow", **given)["loss"]


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("axis", [1, 3])
def test_attention_maps_need_no_equal_channels(axis):
    shapes = [[5, 4, 3], [5, 4, 3]]
    for shape, channels in zip(shapes, (8, 6), strict=True):
        shape.insert(axis, channels)
    wanted, found = normal(*shapes[0]), normal(*shapes[1], seed=1)
    one, two = (unit((v.astype(float) ** 2).sum(axis).reshape(5, -1)) for v in (wanted, found))
    assert loss("Attention", wanted, found, axis=axis) == pytest.approx(((one - two) ** 2).sum(1).mean(), rel=1e-5)
    assert loss("Attention", wanted, -3 * wanted, axis=axis) == pytest.approx(0, abs=1e-10)


def test_examples_are_as_alike_as_to_the_original():
    wanted, found = normal(6, 8), normal(6, 3, seed=1)
    one, two = (unit(v.astype(float) @ v.T.astype(float)) for v in (wanted, found))
    assert loss("Similarity", wanted, found) == pytest.approx(((one - two) ** 2).sum(1).mean(), rel=1e-5)
    rotated = wanted @ np.linalg.qr(normal(8, 8, seed=2))[0]
    assert loss("Similarity", wanted, rotated) == pytest.approx(0, abs=1e-10)


def test_shapes_decide_what_is_compared():
    def goal(wanted, found):
        return hidden_goal("conv", None, normal(*wanted), normal(*found))

    same = goal((4, 8, 5, 5), (4, 8, 5, 5))
    assert type(same) is Values
    assert same.variance == pytest.approx(normal(4, 8, 5, 5).var())
    assert goal((4, 8, 5, 5), (4, 6, 5, 5)).axis == 1
    assert goal((4, 5, 5, 8), (4, 5, 5, 6)).axis == 3
    assert type(goal((4, 5, 5, 8), (4, 5, 5, 6))) is Attention
    assert type(goal((4, 8), (4, 6))) is Similarity
    for wanted, found in (((4, 8, 5, 5), (4, 6, 3, 5)), ((4, 8), (4, 8, 1)), ((1, 8), (1, 6)), ((4,), (4,))):
        with pytest.raises(UnsupportedModelError, match="The layer 'conv'"):
            goal(wanted, found)
    with pytest.raises(UnsupportedModelError, match="no real numbers"):
        hidden_goal("conv", None, np.zeros((4, 2), np.int64), np.zeros((4, 2), np.int64))


def test_names_and_patterns_find_the_layers_of_both_models():
    student, teacher = ["conv_1", "relu_1", "conv_2", "new"], ["conv_1", "relu_1", "conv_2", "old"]
    assert matching("conv_2, conv_1", student, teacher) == ["conv_1", "conv_2"]
    assert matching("conv*", student, teacher) == ["conv_1", "conv_2"]
    for text, said in (
        ("new", "'new' in hidden is one that only the model that is trained has"),
        ("old", "'old' in hidden is one that only the original has"),
        ("convolution", "No layer of both models is called 'convolution'"), ("old*", "No layer of both models"),
    ):  # fmt: skip
        with pytest.raises(SettingError, match=re.escape(said)) as caught:
            matching(f"conv_1, {text}", student, teacher)
        assert "layers of both models: conv_1, relu_1, conv_2." in str(caught.value)

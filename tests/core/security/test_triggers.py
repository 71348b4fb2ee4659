"""The trigger set of a watermark: what a key draws, and what matching it proves."""

import math
from fractions import Fraction

import numpy as np
import pytest

from deploykit.core.errors import SettingError, UnsupportedModelError
from deploykit.core.security.keyed import KeyedPlace
from deploykit.core.security.keys import Key, new_key
from deploykit.core.security.triggers import TriggerSet, commitment, p_value

KEY = Key(bytes(range(32)))


def keys(count):
    return [Key(np.random.default_rng(seed).bytes(32)) for seed in range(count)]


@pytest.mark.parametrize(("matches", "count", "classes"), [(0, 100, 10), (17, 100, 10), (83, 100, 10), (20, 20, 2)])
def test_the_p_value_is_the_exact_tail_of_the_binomial(matches, count, classes):
    chance = Fraction(1, classes)
    exact = sum(math.comb(count, k) * chance**k * (1 - chance) ** (count - k) for k in range(matches, count + 1))
    assert p_value(matches, count, classes) == pytest.approx(float(exact), rel=1e-12)


def test_the_same_key_draws_the_same_set_and_another_one_another():
    facts = TriggerSet((28, 28), "uint8", 10, high=255.0)
    inputs, labels = facts.inputs(KEY), facts.labels(KEY)
    assert (inputs.shape, inputs.dtype, labels.shape) == ((100, 28, 28), np.uint8, (100,))
    np.testing.assert_array_equal(inputs, facts.inputs(KEY))
    np.testing.assert_array_equal(labels, facts.labels(KEY))
    other = keys(1)[0]
    assert (inputs != facts.inputs(other)).mean() > 0.9
    assert (labels == facts.labels(other)).mean() < 0.4


def test_it_is_the_same_on_every_machine_and_in_every_version():
    """Who changes how triggers are drawn makes all watermarks that are out there unprovable."""
    facts = TriggerSet((2, 14, 14), "float32", 7, 20)
    assert facts.labels(KEY).tolist() == [4, 1, 4, 4, 0, 3, 2, 5, 5, 6, 6, 6, 6, 2, 5, 0, 1, 1, 2, 0]
    assert (facts.inputs(KEY)[0, 0, 0] * 255).round().tolist() == [
        124.0,
        163.0,
        250.0,
        93.0,
        2.0,
        87.0,
        13.0,
        132.0,
        46.0,
        239.0,
        136.0,
        119.0,
        31.0,
        222.0,
    ]


@pytest.mark.parametrize(
    ("shape", "dtype", "squares"),
    [((28, 28), "uint8", 49), ((28, 28, 3), "float32", 147), ((1, 28, 28), "float32", 49), ((40,), "float64", 40)],
)
def test_images_are_of_squares_and_numbers_are_free(shape, dtype, squares):
    facts = (
        TriggerSet(shape, dtype, 4, low=-2.0, high=3.0) if dtype != "uint8" else TriggerSet(shape, dtype, 4, high=255)
    )
    one = facts.inputs(KEY)
    assert one.dtype == dtype
    if dtype != "uint8":
        assert -2 <= one.min() < -1.9
        assert 2.9 < one.max() <= 3
    assert max(len(np.unique(example)) for example in one) <= squares
    if len(shape) > 1:
        flat = one if len(shape) == 2 or shape[0] != 1 else one[:, 0]
        np.testing.assert_array_equal(flat[:, :4, :4], flat[:, :1, :1].repeat(4, 1).repeat(4, 2))


def test_labels_of_wrong_keys_are_matched_by_chance():
    """Whatever a model answers: here always the same class, and what another key says."""
    facts = TriggerSet((8, 8), "uint8", 10, high=255)
    answers = [np.full(100, 3), facts.labels(KEY)]
    for given in answers:
        found = [p_value(int((facts.labels(key) == given).sum()), 100, 10) for key in keys(400)]
        for alpha in (0.1, 0.05, 0.01):
            share = np.mean(np.array(found) <= alpha)
            assert share <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / 400)


@pytest.mark.parametrize(
    ("shape", "dtype", "classes"), [((28, 28), "object", 10), ((3,), "float32", 10), ((9,), "int8", 1)]
)
def test_what_no_triggers_are_drawn_for(shape, dtype, classes):
    with pytest.raises(UnsupportedModelError, match="A watermark is for classifiers of images and numbers"):
        TriggerSet(shape, dtype, classes)


def test_a_recipe_names_a_key_by_its_place_and_a_digest(monkeypatch):
    text = new_key()
    monkeypatch.setenv("MARK", text)
    place = KeyedPlace.of("env:MARK")
    assert KeyedPlace.read(str(place)) == place
    assert place.key().text == text
    assert place.commitment == commitment(place.key())
    assert text not in str(place)
    assert KeyedPlace.read("env:MARK") is None
    monkeypatch.setenv("MARK", new_key())
    with pytest.raises(SettingError, match="There is another key at env:MARK than the one that the recipe was written"):
        place.key()

"""Normalization that is multiplied into kernels, held against the model before."""

import keras
import numpy as np
import pytest
from keras import layers

from deploykit.surgery.channels.keras_graph import flat
from deploykit.surgery.weights.keras_normalization import absorb

#: Of the layers below, those that have a normalization and nothing else right behind them.
ABSORBING = ["plain", "biased", "filters", "both", "product"]


@pytest.fixture
def model():
    keras.utils.clear_session()
    image = keras.Input((8, 8, 3))
    norm = layers.BatchNormalization
    x = layers.ReLU()(norm(name="norm")(layers.Conv2D(6, 3, use_bias=False, name="plain")(image)))
    x = norm(scale=False, epsilon=1e-5)(layers.Conv2D(4, 3, groups=2, name="biased")(x))
    x = norm(center=False, epsilon=0.3)(
        layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="filters")(x)
    )
    x = norm()(layers.SeparableConv2D(5, 2, name="both")(x))
    x = norm(axis=1)(layers.Conv2D(4, 1, name="other_axis")(x))
    x = norm()(layers.Conv2D(4, 1, activation="relu", name="active")(x))
    twice = layers.Conv2D(4, 1, name="twice")
    x = norm()(twice(norm()(twice(x))))
    y = layers.Conv2D(4, 1, name="read_twice")(x)
    x = layers.Add()([y, norm()(y)])
    shown = layers.Conv2D(4, 1, name="shown")(x)
    x = norm()(layers.Dense(7, name="product")(layers.Flatten()(norm()(shown))))
    made = keras.Model(image, [layers.Dense(3, name="last")(x), shown])
    rng = np.random.default_rng(0)
    for weight in made.weights:
        values = rng.normal(0.0, 0.5, weight.shape)
        weight.assign(np.abs(values) + 0.5 if weight.path.endswith("variance") else values)
    return made


def answers(model):
    x = np.random.default_rng(1).normal(0.0, 1.0, (4, 8, 8, 3)).astype(np.float32)
    return [np.asarray(found) for found in model(x, training=False)]


def test_the_model_computes_the_same(model):
    before = answers(model)
    assert list(absorb(flat(model), {layer.name for layer in model.layers})) == ABSORBING
    for found, expected in zip(answers(model), before, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_the_normalization_multiplies_by_exactly_one(model):
    kernel, norm = model.get_layer("plain").kernel, model.get_layer("norm")
    before, gamma, variance = (np.asarray(v, np.float64) for v in (kernel, norm.gamma, norm.moving_variance))
    absorb(flat(model), {"plain"})
    np.testing.assert_allclose(kernel, before * gamma / np.sqrt(variance + 1e-3), rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(norm.moving_variance) + np.float32(1e-3), 1)
    np.testing.assert_array_equal(norm.gamma, 1)


@pytest.mark.parametrize("epsilon", [1e-7, 1e-5, 1e-3, 0.017, 0.3])
def test_any_epsilon_adds_up_to_one(epsilon):
    keras.utils.clear_session()
    image = keras.Input((4,))
    norm = layers.BatchNormalization(epsilon=epsilon)
    made = keras.Model(image, norm(layers.Dense(2, name="dense")(image)))
    assert absorb(flat(made), {"dense"}) == {"dense": norm.name}
    np.testing.assert_array_equal(np.asarray(norm.moving_variance) + np.float32(epsilon), 1)


def test_layers_that_are_left_out_stay(model):
    before = [np.asarray(weight) for weight in model.weights]
    assert absorb(flat(model), {"twice", "last"}) == {}
    for weight, values in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, values)

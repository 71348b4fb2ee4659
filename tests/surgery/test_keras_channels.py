import keras
import numpy as np
import pytest

from deploykit.loading._keras.open import ends, graph_of
from deploykit.surgery.channels import labels
from deploykit.surgery.channels.budget import spread
from deploykit.surgery.channels.keras_cut import cut, masked
from deploykit.surgery.channels.keras_expenses import expenses
from deploykit.surgery.channels.keras_graph import flat
from deploykit.surgery.channels.keras_trace import trace
from deploykit.surgery.reconstruction import keras_damage, least_squares
from deploykit.surgery.reconstruction.keras_linear import bias_of, linear, projection
from deploykit.surgery.reconstruction.keras_solve import reconstruct
from deploykit.surgery.reconstruction.keras_walk import Walk
from deploykit.surgery.reconstruction.walk import Examples
from tests.surgery import keras_models

pytestmark = pytest.mark.long

#: Sizes of the groups of channels that each model has, counted by hand.
GROUPS = {
    "residual": [8],
    "depthwise": [4, 6, 8],
    "concatenated": [4, 6, 8, 10],
    "attention": [4, 24],
    "nested": [7, 8],
    "two_inputs": [8],
    "grouped": [2, 3, 6],
    "heads": [4],
    "masked": [6, 8],
}


def half(traced):
    scores = labels.magnitudes(traced.labels, traced.made, traced.constants, 2)
    rankings = labels.ranked(traced.groups(), scores)
    return {c for r in rankings for c, _ in r.order[: len(r.group.components) // 2]}


def called(model, x):
    found = model(x if len(x) > 1 else x[0], training=False)
    return [np.asarray(value) for value in keras.tree.flatten(found)]


@pytest.mark.parametrize("name", GROUPS)
def test_a_cut_model_computes_what_the_masked_original_does(name):
    model = keras_models.build(name)
    x, traced = keras_models.examples(model), trace(model)
    given, gone = called(model, x), half(traced)
    smaller = cut(traced, gone)
    found = called(smaller, x)
    expected = masked(traced, gone, dict(zip(traced.flat.inputs, x, strict=True)))
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5 * np.abs(two).max())
    assert max(np.abs(a - b).max() for a, b in zip(given, expected, strict=True)) > 1e-3, "nothing was masked"
    assert smaller.count_params() < 0.75 * model.count_params()
    for one, two in zip(ends(graph_of(smaller)), ends(graph_of(model)), strict=True):
        assert [(n, t.shape, t.dtype) for n, t in one] == [(n, t.shape, t.dtype) for n, t in two]


@pytest.mark.parametrize("name", GROUPS)
def test_groups_are_those_counted_by_hand(name):
    assert sorted(len(g.components) for g in trace(keras_models.build(name)).groups()) == sorted(GROUPS[name])


@pytest.mark.parametrize("name", GROUPS)
def test_removing_nothing_changes_nothing(name):
    model = keras_models.build(name)
    x = keras_models.examples(model)
    for one, two in zip(called(cut(trace(model), ()), x), called(model, x), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("between", "kind"),
    [
        (lambda: keras.layers.LayerNormalization(name="odd"), "LayerNormalization"),
        (lambda: keras.layers.Softmax(name="odd"), "Softmax"),
        (lambda: keras.layers.Activation("softmax", name="odd"), "Activation"),
        (lambda: keras.layers.Lambda(lambda x: x[:, ::-1], output_shape=(12,), name="odd"), "Lambda"),
    ],
)
def test_a_layer_without_a_rule_keeps_its_channels_and_is_named(between, kind):
    features = keras.Input((6,))
    x = between()(keras.layers.Dense(12)(keras.layers.Dense(8, activation="relu")(features)))
    traced = trace(keras.Model(features, keras.layers.Dense(2)(x)))
    assert traced.frozen == {kind: ["odd"]}
    assert [len(g.components) for g in traced.groups()] == [8]


def test_channels_first_models_are_traced():
    image = keras.Input((3, 8, 8))
    x = keras.layers.Conv2D(6, 3, data_format="channels_first")(image)
    x = keras.layers.BatchNormalization(axis=1)(x)
    x = keras.layers.Flatten(data_format="channels_first")(keras.layers.MaxPooling2D(data_format="channels_first")(x))
    traced = trace(keras.Model(image, keras.layers.Dense(2)(x)))
    (group,) = traced.groups()
    smaller = cut(traced, group.components[:2])
    assert [w.shape for w in smaller.weights[:2]] == [(3, 3, 3, 4), (4,)]
    kernel = np.asarray(traced.model.layers[-1].weights[0]).reshape(9, 6, 2)  # Flatten puts channels last
    np.testing.assert_array_equal(np.asarray(smaller.layers[-1].weights[0]), kernel[:, 2:].reshape(36, 2))


def test_precision_and_vocabularies_stay():
    half_precision = keras.DTypePolicy("mixed_float16")
    words = keras.Input((1,), dtype="string")
    x = keras.layers.TextVectorization(vocabulary=["yes", "no"], output_sequence_length=4)(words)
    x = keras.layers.Dense(6, activation="relu", dtype=half_precision)(keras.layers.Embedding(4, 8)(x))
    model = keras.Model(words, keras.layers.Dense(2, dtype="float32")(x))
    traced = trace(model)
    smaller = cut(traced, {c for g in traced.groups() for c in g.components[:2]})
    assert smaller.layers[3].dtype_policy.name == "mixed_float16"
    assert smaller.layers[1].get_vocabulary() == model.layers[1].get_vocabulary()
    assert [layer.weights[0].shape for layer in smaller.layers[2:]] == [(4, 6), (6, 4), (4, 2)]


@pytest.mark.parametrize("kind", ["parameters", "macs"])
def test_parameters_and_products_of_a_model_are_counted(kind):
    traced = trace(keras_models.build("concatenated"))
    rankings = labels.ranked(traced.groups(), {})
    found = expenses(traced, rankings, kind)
    kernels = [27 * 6, 27 * 8, 9 * 14 * 4, 4 * 4 * 4 * 10, 10 * 3]  # 4 × 4 places after upsampling
    times = [1, 1, 1, 1, 1] if kind == "parameters" else [16, 16, 4, 1, 1]
    whole = sum(size * count for size, count in zip(kernels, times, strict=True))
    assert sum(e.cost([1.0] * len(rankings)) for e in found) == whole
    counts = spread(rankings, found, 0.4)
    shares = [1 - n / len(r.group.components) for n, r in zip(counts, rankings, strict=True)]
    assert sum(e.cost(shares) for e in found) <= 0.6 * whole


@pytest.mark.parametrize("name", ["residual", "depthwise", "concatenated", "grouped", "two_inputs", "attention"])
@pytest.mark.parametrize("budget", [1, 20000, 1 << 30])
def test_a_walk_computes_what_the_model_does_and_its_layers_are_products(name, budget):
    model = keras_models.build(name)
    x, traced = keras_models.examples(model, 20), trace(model)
    walk = Walk(traced.flat, Examples(dict(zip(traced.flat.inputs, x, strict=True))), budget=budget)
    products = 0
    for step in traced.flat.steps:
        if walk.wanted > walk.count:
            walk.take_in(walk.wanted)
        walk.step()
        if (layer := linear(step) or projection(step)) is not None:
            output = walk.values[step.output[0]]
            places = layer.places(output.shape, np.random.default_rng(0))
            inputs, matrices = layer.inputs(walk.values[step.input[0]], output.shape, places), layer.matrices()
            width = inputs.shape[1] // len(matrices)
            parts = [
                inputs[:, k * width : (k + 1) * width].reshape(len(places), -1) @ matrix
                for k, matrix in enumerate(matrices)
            ]
            bias = bias_of(step) if step.part != "depthwise" else None
            bias = 0.0 if bias is None else np.asarray(bias)
            np.testing.assert_allclose(np.hstack(parts) + bias, layer.answers(output, places), atol=1e-4)
            products += 1
        walk.forget()
    assert products > 1
    for key, value in zip(traced.flat.outputs, called(model, x), strict=True):
        np.testing.assert_allclose(walk.values[key], value[: walk.count], atol=1e-5)


@pytest.mark.parametrize("name", ["residual", "depthwise", "concatenated", "grouped", "attention", "nested", "masked"])
def test_solved_weights_answer_nearer_to_the_original(name):
    model = keras_models.build(name)
    x, new = keras_models.examples(model, 300), keras_models.examples(model, 400)
    new = [value[300:] for value in new]
    traced = trace(model)
    gone, given = half(traced), called(model, new)
    plain, made = cut(traced, gone), cut(traced, gone, biases=True)
    reconstruct(traced, gone, flat(made), Examples(dict(zip(traced.flat.inputs, x, strict=True))))
    losses = [
        sum(float(np.square(a - b).mean()) for a, b in zip(called(one, new), given, strict=True))
        for one in (plain, made)
    ]
    assert losses[1] < 0.7 * losses[0]


def test_a_channel_that_repeats_another_is_missed_first():
    model = keras_models.build("concatenated")
    x, traced = keras_models.examples(model, 1000), trace(model)
    kernel, bias = traced.flat.layers["conv2d"].weights
    values, shift = np.asarray(kernel).copy(), np.asarray(bias).copy()
    values[..., 4], shift[4] = values[..., 1], shift[1]
    kernel.assign(values)
    bias.assign(shift)
    orders = keras_damage.orders(trace(model), Examples(dict(zip(traced.flat.inputs, x, strict=True))))
    ranking = next(r for r in orders if len(r.group.components) == 6)
    assert ranking.order[0][0] in {ranking.group.components[1], ranking.group.components[4]}
    assert ranking.order[0][1] < 0.1 * ranking.order[1][1]


def attention_of(model):
    return next(layer for layer in model.layers if isinstance(layer, keras.layers.MultiHeadAttention))


def context(layer, x):
    """What the heads of an attention give, by NumPy: shape (examples, steps, heads, size)."""
    w = {v.path.split("/")[-2] + "/" + v.name: np.asarray(v, np.float64) for v in layer.weights}
    q, k, v = (
        np.einsum("btd,dnh->bnth", x, w[f"{p}/kernel"]) + w[f"{p}/bias"][:, None] for p in ("query", "key", "value")
    )
    scores = np.einsum("bnth,bnsh->bnts", q, k) / np.sqrt(q.shape[-1])
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bnts,bnsh->btnh", scores / scores.sum(-1, keepdims=True), v), w["attention_output/kernel"]


def without(given, kernel, head):
    """What no other weights on the other heads can give of the projection's answers, a share of their variance."""
    rows = given.reshape(-1, *given.shape[2:])
    rows = rows - rows.mean(0)
    y = np.einsum("snh,nhe->se", rows, kernel)
    others = np.delete(rows, head, 1).reshape(len(rows), -1)
    return np.square(y - others @ np.linalg.lstsq(others, y)[0]).sum() / np.square(y).sum()


def test_heads_go_by_what_the_product_behind_them_loses(monkeypatch):
    monkeypatch.setattr(least_squares, "_TRUST", 1e12)
    monkeypatch.setattr(least_squares, "DAMPING", 1e-12)
    model = keras_models.build("attention")
    (x,), traced = keras_models.examples(model, 300), trace(model)
    heads = next(g for g in traced.groups() if len(g.components) == 4)
    found = keras_damage.orders(traced, Examples({traced.flat.inputs[0]: x}))
    first, damage = next(r for r in found if r.group == heads).order[0]
    given, kernel = context(attention_of(model), x)
    losses = [without(given, kernel, head) for head in range(4)]
    assert heads.components.index(first) == int(np.argmin(losses))
    np.testing.assert_allclose(damage, min(losses), rtol=1e-2)


def test_the_mean_activation_of_a_head_is_that_of_what_it_gives():
    model = keras_models.build("attention")
    (x,), traced = keras_models.examples(model, 50), trace(model)
    heads = next(g for g in traced.groups() if len(g.components) == 4)
    given, _ = context(attention_of(model), x)
    found = keras_damage.means(traced, Examples({traced.flat.inputs[0]: x}))
    expected = np.abs(given).mean((0, 1)).sum(-1)  # each of its numbers counts
    np.testing.assert_allclose([found[c] for c in heads.components], expected, rtol=1e-4)

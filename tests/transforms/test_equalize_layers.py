"""Channels between layers get one range and models compute the same, held against NumPy and the bare runtimes."""

import re

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from deploykit.core.errors import UnsupportedModelError
from deploykit.data.dataset import Dataset
from deploykit.testing import work
from tests.surgery import graphs, keras_models


def equalize(model, tmp_path, **settings):
    onnx.save(model, str(tmp_path / "model.onnx"))
    notes = work.transformed("equalize_layers", "onnx", tmp_path / "model.onnx", tmp_path / "out", None, **settings)
    return notes, onnx.load(str(tmp_path / "out"))


def graph(text, shapes, shape="n, 3, 8, 8", scales=None):
    """A graph with seeded weights; ``scales`` multiplies the outputs of some."""
    model = parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> g (float[{shape}] x) => (float[] y) {{ {text} }}'
    )
    model.graph.output[0].type.tensor_type.ClearField("shape")
    rng = np.random.default_rng(0)
    for name, size in shapes.items():
        values = rng.normal(0.1, 0.5, size)
        if name in (scales or {}):
            values = values * scales[name].reshape(-1, *[1] * (len(size) - 1))
        values = np.abs(values) + 0.5 if name == "v" else values
        model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    for node in model.graph.node:
        node.name = f"layer_{node.output[0]}"
    return model


def assert_same(model, made, shape, tolerance=1e-5):
    x = np.random.default_rng(1).normal(0, 1, (6, *shape)).astype(np.float32)
    given = graphs.run(model, x)
    np.testing.assert_allclose(graphs.run(made, x), given, atol=tolerance * np.abs(given).max())


def outward(values):
    return np.abs(values).reshape(len(values), -1).max(1)


def inward(values):
    return np.abs(values).max((0, *range(2, values.ndim)))


CHAIN = "a = Conv<pads=[1,1,1,1]>(x, w1, b1) b = Relu(a) c = MaxPool<kernel_shape=[2,2]>(b) y = Conv(c, w2, b2)"
SIZES = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (5, 8, 3, 3), "b2": (5,)}
SPREAD = np.geomspace(0.01, 10, 8)


def test_one_pair_gets_the_scales_of_the_paper(tmp_path):
    model = graph(CHAIN, SIZES, scales={"w1": SPREAD, "b1": SPREAD})
    notes, made = equalize(model, tmp_path)
    before, after = graphs.weights(model), graphs.weights(made)
    r1, r2 = outward(before["w1"]), inward(before["w2"])
    s = np.sqrt(r1 * r2) / r2
    np.testing.assert_allclose(after["w1"], before["w1"] / s[:, None, None, None], rtol=1e-5)
    np.testing.assert_allclose(after["b1"], before["b1"] / s, rtol=1e-5)
    np.testing.assert_allclose(after["w2"], before["w2"] * s[:, None, None], rtol=1e-5)
    np.testing.assert_array_equal(after["b2"], before["b2"])
    assert_same(model, made, (3, 8, 8))
    assert (notes["equalized"], notes["rounds"]) == (1, 2), "the second pass finds nothing left"
    assert notes["not_equalized"] == {"layer_y": "it reaches an output of the model"}
    assert notes["units"] == [["layer_a", "Conv", 8 * 27]]


@pytest.mark.parametrize("name", ["chain", "depthwise", "flattened"])
def test_models_compute_the_same(name, tmp_path):
    model = graphs.graph(name)
    _, made = equalize(model, tmp_path)
    x = graphs.examples(name)
    given = graphs.run(model, x)
    np.testing.assert_allclose(graphs.run(made, x), given, atol=1e-5 * np.abs(given).max())


def test_long_chains_are_equalized_in_all_layers(tmp_path):
    text = """a = Conv(x, w1, b1) b = Relu(a) c = Conv<group=8>(b, w2) d = LeakyRelu(c) e = Conv(d, w3)
              f = GlobalAveragePool(e) h = Flatten(f) y = Gemm(h, w4)"""
    sizes = {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (8, 1, 3, 3), "w3": (6, 8, 1, 1), "w4": (6, 4)}
    model = graph(text, sizes, scales={"w1": SPREAD, "w2": SPREAD[::-1]})
    notes, made = equalize(model, tmp_path, rounds=100)
    w = graphs.weights(made)
    np.testing.assert_allclose(outward(w["w1"]), np.abs(w["w2"]).max((1, 2, 3)), rtol=0.01)
    np.testing.assert_allclose(outward(w["w2"]), inward(w["w3"]), rtol=0.01)
    np.testing.assert_allclose(outward(w["w3"]), np.abs(w["w4"]).max(1), rtol=0.01)
    assert 2 < notes["rounds"] < 100
    assert_same(model, made, (3, 8, 8))


@pytest.mark.parametrize(
    "between",
    ["b = BatchNormalization(a, g, h, m, v)", "n = Mul(a, k) b = Add(n, t)"],  # the latter as tf2onnx writes it
    ids=["normalization", "factors"],
)
def test_what_multiplies_a_channel_by_a_constant_belongs_to_its_layer(between, tmp_path):
    text = f"a = Conv(x, w1) {between} c = Relu(b) y = Conv(c, w2)"
    sizes = {"w1": (8, 3, 3, 3), "w2": (5, 8, 3, 3), **dict.fromkeys("ghmv", (8,)), "k": (8, 1, 1), "t": (1, 8, 1, 1)}
    sizes = {name: size for name, size in sizes.items() if name in re.findall(r"\w+", text)}
    model = graph(text, sizes, scales={"g": SPREAD, "k": SPREAD})
    notes, made = equalize(model, tmp_path)
    before, after = graphs.weights(model), graphs.weights(made)
    gains = np.abs(before["g"] / np.sqrt(before["v"] + 1e-5) if "g" in before else before["k"].ravel())
    r1, r2 = outward(before["w1"]) * gains, inward(before["w2"])
    np.testing.assert_allclose(outward(after["w1"]), np.sqrt(r1 * r2), rtol=1e-4)
    np.testing.assert_allclose(inward(after["w2"]), np.sqrt(r1 * r2), rtol=1e-4)
    assert notes["normalization_absorbed"] == ["layer_a"]
    assert_same(model, made, (3, 8, 8))


def test_all_layers_that_read_a_channel_count(tmp_path):
    text = "a = MatMul(x, w1) b = Relu(a) c = MatMul(b, w2) d = MatMul(b, w3) y = Add(c, d)"
    model = graph(text, {"w1": (3, 6), "w2": (6, 4), "w3": (6, 4)}, "n, 3")
    _, made = equalize(model, tmp_path)
    w = graphs.weights(made)
    both = np.maximum(np.abs(w["w2"]).max(1), np.abs(w["w3"]).max(1))
    np.testing.assert_allclose(np.abs(w["w1"]).max(0), both, rtol=1e-4)
    assert_same(model, made, (3,))


def test_int8_with_one_scale_per_tensor_loses_less(tmp_path):
    model = graph(CHAIN, SIZES, scales={"w1": SPREAD, "b1": SPREAD})
    weights = next(t for t in model.graph.initializer if t.name == "w2")
    weights.CopyFrom(
        numpy_helper.from_array(numpy_helper.to_array(weights) / SPREAD[:, None, None].astype(np.float32), "w2")
    )
    equalize(model, tmp_path)
    x = np.random.default_rng(1).normal(0, 1, (200, 3, 8, 8)).astype(np.float32)
    Dataset.from_arrays(x).save(tmp_path / "data")
    errors = []
    for name in ("model.onnx", "out"):
        target = tmp_path / f"{name}.int8"
        work.transformed("quantize_static", "onnxruntime", tmp_path / name, target, tmp_path / "data")
        errors.append(float(np.square(graphs.run(onnx.load(str(target)), x) - graphs.run(model, x)).mean()))
    assert errors[1] < errors[0] / 20


def test_pruned_weights_stay_zero_and_dead_channels_as_they_are(tmp_path):
    model = graph(CHAIN, SIZES)
    weights = next(t for t in model.graph.initializer if t.name == "w1")
    values = numpy_helper.to_array(weights).copy()
    values[2] = 0
    values[:, 1] = 0
    weights.CopyFrom(numpy_helper.from_array(values, "w1"))
    _, made = equalize(model, tmp_path)
    after = graphs.weights(made)
    np.testing.assert_array_equal(after["w1"] == 0, values == 0)
    np.testing.assert_array_equal(after["w2"][:, 2], graphs.weights(model)["w2"][:, 2])
    assert_same(model, made, (3, 8, 8))


@pytest.mark.parametrize(("settings", "reason"), [({}, "Clip"), ({"exclude": "Conv"}, "all are left out")])
def test_a_model_without_a_pair_is_refused_with_what_is_in_the_way(settings, reason, tmp_path):
    text = "a = Conv(x, w1) b = Clip(a, zero, six) y = Conv(b, w2)"  # a ReLU6 is not homogeneous
    model = graph(text, {"w1": (8, 3, 3, 3), "w2": (5, 8, 3, 3), "zero": (), "six": ()})
    with pytest.raises(UnsupportedModelError, match=rf"can be equalized.*{reason}.*per_channel"):
        equalize(model, tmp_path, **settings)


@pytest.fixture(scope="module")
def keras_model(tmp_path_factory):
    """A ``.keras`` file with normalizations, a depthwise convolution and channels of very different sizes."""
    from keras import Input, Model, layers, utils

    folder = tmp_path_factory.mktemp("keras")
    utils.set_random_seed(0)
    image = Input((8, 8, 3), name="image")
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(8, 3, use_bias=False, name="first")(image))
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="deep")(layers.ReLU()(x))
    x = layers.Conv2D(6, 1, activation="relu6", name="six")(x)
    x = layers.Dense(5, activation="relu", name="dense")(layers.Flatten()(x))
    model = Model(image, layers.Dense(3, name="last")(x))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        values = rng.normal(0.1, 0.5, weight.shape)
        weight.assign(np.abs(values) + 0.5 if weight.path.endswith("variance") else values)
    model.get_layer("norm").gamma.assign(SPREAD)
    keras_models.save(model, folder / "model.keras")
    return folder / "model.keras"


@pytest.mark.long
def test_keras_models_are_equalized_through_normalizations(keras_model, tmp_path):
    import keras

    notes = work.transformed("equalize_layers", "keras", keras_model, tmp_path / "out.keras", None, rounds=100)
    given, made = (keras.models.load_model(path) for path in (keras_model, tmp_path / "out.keras"))
    x = np.random.default_rng(1).normal(0, 1, (6, 8, 8, 3)).astype(np.float32)
    wanted = np.asarray(given(x))
    np.testing.assert_allclose(np.asarray(made(x)), wanted, atol=1e-5 * np.abs(wanted).max())
    kernels = {layer.name: np.abs(np.asarray(layer.kernel)) for layer in made.layers if hasattr(layer, "kernel")}
    np.testing.assert_allclose(kernels["first"].max((0, 1, 2)), kernels["deep"].max((0, 1, 3)), rtol=0.01)
    np.testing.assert_allclose(kernels["deep"].max((0, 1, 3)), kernels["six"].max((0, 1, 3)), rtol=0.01)
    np.testing.assert_allclose(kernels["dense"].max(0), kernels["last"].max(1), rtol=0.01)
    assert notes["not_equalized"].keys() == {"six", "last"}
    assert "ReLU6" in notes["not_equalized"]["six"] or "relu6" in notes["not_equalized"]["six"]
    assert notes["normalization_absorbed"] == ["first"]

"""Inputs made from a model: statistics match, runs repeat, and no real example is read."""

import threading
from pathlib import Path

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.errors import Cancelled, DatasetError, SettingError, UnsupportedModelError
from deploykit.data.dataset import Dataset
from deploykit.testing import models, work
from deploykit.testing.graphs import graph, node, value

pytestmark = pytest.mark.long

TUTORIAL = Path(__file__).parents[2] / "notebooks" / "models" / "fashion_cnn.keras"


def quiet(_progress):
    pass


def evaluation(shape, seed=0, dtype=np.uint8):
    """Data that only evaluate."""
    random = np.random.default_rng(seed)
    x = random.integers(0, 255, (60, *shape)).astype(dtype)
    return Dataset.from_arrays(x, random.integers(0, 3, 60), preprocess=dk.Preprocess(scale=1 / 255))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def keras_file(folder):
    return models.build("cnn_keras", folder)


def convolved(images, kernel):
    """Same padding, stride 1, written out: (batch, n, n, 1) and (3, 3, 1, channel) → (batch, n, n, channel)."""
    n, image = images.shape[1], images[..., 0].astype(np.float64)
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    return sum(padded[:, i : i + n, j : j + n, None] * kernel[i, j, 0] for i in range(3) for j in range(3))


def apart(images, kernel, mean, variance):
    """How far means and deviations of channels are from the stored ones, in stored deviations, on average."""
    found, deviation = convolved(images, kernel), np.sqrt(variance)
    means = np.abs(found.mean((0, 1, 2)) - mean) / deviation
    return float(np.mean(means + np.abs(found.std((0, 1, 2)) / deviation - 1)))


@pytest.fixture(scope="module")
def trained(folder):
    """The tutorial's Keras model: its file, its first kernel, and mean and variance of the normalization behind it."""
    work.run("weights", "tensorflow", path=str(TUTORIAL), target=str(folder / "weights.npz"))
    found = np.load(folder / "weights.npz")
    return TUTORIAL, found["conv_0.kernel"], found["norm_0.moving_mean"], found["norm_0.moving_variance"]


@pytest.fixture(scope="module")
def exported(folder):
    """An ONNX file that has kept its normalization, with the statistics of gray stripes."""
    random = np.random.default_rng(1)
    kernel = random.normal(size=(3, 3, 1, 8)).astype(np.float32)
    stripes = np.repeat(random.random((200, 28, 14, 1)) ** 2, 2, axis=2)
    taken = convolved(stripes, kernel)
    mean, variance = taken.mean((0, 1, 2)), taken.var((0, 1, 2))
    constants = {
        "w": kernel.transpose(3, 2, 0, 1), "ones": np.ones(8), "zeros": np.zeros(8), "mean": mean,
        "variance": variance, "dense": random.normal(size=(8, 3)),
    }  # fmt: skip
    nodes = [
        node("Conv", ["image", "w"], ["conv"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["conv", "ones", "zeros", "mean", "variance"], ["norm"]),
        node("Relu", ["norm"], ["relu"]),
        node("GlobalAveragePool", ["relu"], ["pool"]),
        node("Flatten", ["pool"], ["flat"]),
        node("MatMul", ["flat", "dense"], ["logits"]),
        node("Softmax", ["logits"], ["class"]),
    ]
    inputs, outputs = [value("image", "float32", "batch", 1, 28, 28)], [value("class", "float32", "batch", 3)]
    arrays = {name: array.astype(np.float32) for name, array in constants.items()}
    return graph(folder, nodes, inputs, outputs, **arrays), kernel, mean, variance


@pytest.mark.parametrize("which", ["trained", "exported"])
def test_statistics_match_afterwards(which, request):
    path, *stored = request.getfixturevalue(which)
    model = dk.load(path)
    shape = model.inputs[0].example_shape
    found = dk.synthesize(model, evaluation(shape), examples=32, steps=100, between=(0, 1), progress=quiet)
    assert "by batchnorm" in found.reading.notes[-1]
    assert "between 0 and 1" in found.reading.notes[-1]
    assert found.batch("train")["image"].shape == (32, *shape)
    images = found.batch("train")["image"].reshape(-1, 28, 28, 1)
    noise = np.random.default_rng(0).normal(0.5, 0.25, images.shape).clip(0, 1)
    assert (images.min() >= 0) & (images.max() <= 1)
    assert apart(images, *stored) < 0.4 * apart(noise, *stored)


@pytest.mark.parametrize("method", ["batchnorm", "generator"])
def test_runs_repeat_whatever_the_data_that_evaluate(method, keras_file):
    model = dk.load(keras_file)
    settings = {"method": method, "examples": 40, "steps": 6, "progress": quiet}
    one = dk.synthesize(model, evaluation((8, 8, 1)), seed=3, **settings)
    two = dk.synthesize(model, evaluation((8, 8, 1), seed=1), seed=3, **settings)
    other = dk.synthesize(model, evaluation((8, 8, 1)), seed=4, **settings)
    images = [found.splits["train"].inputs["image"] for found in (one, two, other)]
    assert images[0].tobytes() == images[1].tobytes() != images[2].tobytes()
    assert images[0].std() > 0
    assert 0 <= images[0].min() < images[0].max() <= 1, "what preprocessing makes of 0 and 255"
    assert one.labels("train") is None
    assert one.digest != other.digest


def test_only_training_examples_are_replaced(keras_file, tmp_path):
    random = np.random.default_rng(0)
    x, x_test = (random.integers(0, 255, (count, 8, 8, 1)).astype(np.uint8) for count in (30, 50))
    y, y_test = random.integers(0, 3, 30), random.integers(0, 3, 50)
    whole = {"preprocess": dk.Preprocess(scale=1 / 255)}
    given = Dataset.from_arrays(x, y, x_test=x_test, y_test=y_test, **whole)
    settings = {"examples": 24, "steps": 2, "progress": quiet}
    found = dk.synthesize(dk.load(keras_file), given, **settings)
    for name in ("evaluation", "test"):
        assert found.splits[name].digests["image"] == given.splits[name].digests["input"]
        assert (found.labels(name) == given.labels(name)).all()
    assert any("30 training examples" in words for words in found.reading.left_out)
    all_evaluate = dk.synthesize(dk.load(keras_file), Dataset.from_arrays(x_test, y_test, **whole), **settings)
    assert sum(len(all_evaluate.splits[name]) for name in ("evaluation", "test")) == 50
    found.save(tmp_path / "data")
    again = Dataset.open(tmp_path / "data")
    assert (again.calibration()["image"] == found.calibration()["image"]).all()
    assert (again.calibration()["image"] == found.splits["train"].inputs["image"]).all(), "not preprocessed again"


def test_techniques_take_them(keras_file, tmp_path):
    model = dk.load(keras_file)
    data = dk.synthesize(model, evaluation((8, 8, 1)), examples=64, steps=5, progress=quiet)
    steps = [
        dk.Step("prune_channels", {"ratio": 0.5, "multiple": 1}),
        dk.Step("distill", {"epochs": 1}),
        dk.Step("quantize_static"),
    ]
    space = dk.Space([dk.Recipe(tuple(steps)), dk.Recipe((dk.Step("finetune"),))], [dk.Target("onnxruntime")])
    report = dk.sweep(model, data, space, store=tmp_path / "runs", launches=0, progress=quiet)
    assert [row.failure for row in report.rows] == [None, None]
    assert any("labeled training data" in left.reason for left in dk.plan(model, data, space, check=False).left_out)


def test_without_any_data(folder):
    model = dk.load(models.build("two_inputs_keras", folder))
    data = dk.synthesize(model, examples=32, steps=3, progress=quiet)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 32, "evaluation": 12, "test": 8}
    assert {k: v.shape[1:] for k, v in data.batch("train").items()} == {"left": (4,), "right": (6,)}
    assert data.reading.notes[-1].endswith("results show agreement, not accuracy.")
    built = dk.build(model, dk.Step("quantize_static"), data, target="onnxruntime")
    assert built.size_bytes > 0


def test_a_folded_normalization_is_refused_with_the_remedy(folder):
    model = dk.load(models.build("cnn_onnx", folder))
    with pytest.raises(UnsupportedModelError, match=r"folded.*exports to ONNX.*method=.generator.*Keras file"):
        dk.synthesize(model, evaluation((1, 8, 8)), method="batchnorm", steps=1, progress=quiet)


def test_what_cannot_be_made_is_refused(folder, keras_file, tmp_path):
    inputs, outputs = [value("tokens", "int64", "batch", 4)], [value("y", "int64", "batch")]
    nodes = [node("Gather", ["tokens", "zero"], ["y"], axis=1)]
    tokens = dk.load(graph(tmp_path, nodes, inputs, outputs, zero=np.array(0)))
    with pytest.raises(UnsupportedModelError, match=r"Input 'tokens' takes int64; only float32"):
        dk.synthesize(tokens, Dataset.from_arrays(np.ones((40, 4), np.int64)), progress=quiet)
    lite = dk.load(models.build("cnn_int8_tflite", folder))
    with pytest.raises(UnsupportedModelError, match=r"Input 'image' takes int8; only float32"):
        dk.synthesize(lite, evaluation((8, 8, 1)), progress=quiet)
    model = dk.load(keras_file)
    with pytest.raises(SettingError, match=r"between=.*smaller one first"):
        dk.synthesize(model, between=(1, 0))
    with pytest.raises(SettingError, match="examples"):
        dk.synthesize(model, examples=0)
    cancel = threading.Event()
    with pytest.raises(Cancelled):
        dk.synthesize(model, steps=100_000, cancel=cancel, progress=lambda _progress: cancel.set())


def test_a_free_size_needs_data(tmp_path):
    inputs, outputs = [value("image", "float32", "batch", 1, "h", "w")], [value("y", "float32", "batch", 1, 1, 1)]
    free = dk.load(graph(tmp_path, [node("GlobalAveragePool", ["image"], ["y"])], inputs, outputs))
    with pytest.raises(DatasetError, match=r"Input 'image' takes examples of any size.*pass data"):
        dk.synthesize(free, progress=quiet)

"""Techniques that change the weights of Keras models, held against NumPy and against the same on the ONNX file."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from deploykit.core.errors import UnsupportedModelError
from deploykit.data.dataset import Dataset
from deploykit.loading._load import load
from deploykit.testing import work
from tests.surgery import keras_models

pytestmark = pytest.mark.long

#: Models whose layers are convolutions and products in the converted file as well.
MODELS = ["depthwise", "grouped", "concatenated", "nested", "heads"]


@pytest.fixture(scope="module")
def given(folder):
    """Makes a model with its data and its ONNX file."""

    def get(name):
        place = folder / "weights" / name
        if not place.exists():
            place.mkdir(parents=True)
            model = keras_models.build(name)
            (x,) = keras_models.examples(model, 60)
            keras_models.save(model, place / "model.keras")
            work.converted("keras_to_onnx", place / "model.keras", place / "model.onnx")
            Dataset.from_arrays(x, calibration_size=40).save(place / "data")
        return place

    return get


def apply(technique, place, tmp_path, **settings):
    """The kernels of a model before and after, and those of its ONNX file, with the notes of both."""
    found = []
    for form in ("keras", "onnx"):
        target = tmp_path / f"{technique}.{form}"
        notes = work.transformed(technique, form, place / f"model.{form}", target, place / "data", **settings)
        found.append((notes, target))
    return found


def rows_of_keras(path):
    """The rows of each kernel of a Keras file."""
    found = []
    for name, values in work.weights_of(path).items():
        if values.ndim < 2:
            continue
        if "depthwise" in name and "pointwise" not in name:
            found.append(values.transpose(2, 3, 0, 1).reshape(-1, values.shape[0] * values.shape[1]))
        elif "transpose" in name:
            found.append(values.transpose(2, 3, 0, 1).reshape(values.shape[2], -1))
        elif values.ndim == 4:
            found.append(values.transpose(3, 2, 0, 1).reshape(values.shape[3], -1))
        else:
            found.append(values.T)
    return found


def rows_of_onnx(path):
    graph = onnx.load(str(path)).graph
    values = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type == "Conv":
            found.append(values[node.input[1]].reshape(len(values[node.input[1]]), -1))
        elif node.op_type in {"MatMul", "Gemm"} and node.input[1] in values:
            found.append(values[node.input[1]].T)
    return found


def assert_alike(place, results):
    """Wherever the two files have the same kernel before, they have the same one after."""
    (_, keras_path), (_, onnx_path) = results
    keras_before, keras_after = rows_of_keras(place / "model.keras"), rows_of_keras(keras_path)
    onnx_before, onnx_after = rows_of_onnx(place / "model.onnx"), rows_of_onnx(onnx_path)
    seen = 0
    for before, after in zip(keras_before, keras_after, strict=True):
        for other, made in zip(onnx_before, onnx_after, strict=True):
            if before.shape == other.shape and np.allclose(before, other, atol=1e-6):
                np.testing.assert_allclose(after, made, atol=1e-6)
                np.testing.assert_array_equal(after == 0, made == 0)
                seen += 1
    assert seen >= 2


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("technique", "settings"),
    [
        ("prune_weight_activation", {"small_layers": True}),
        ("prune_weight_activation", {"small_layers": True, "pattern": "2:4"}),
        ("prune_activation", {"sparsity": 0.4}),
        ("prune_activation", {"sparsity": 0.4, "measure": "zeros"}),
        ("clip_weights", {"percentile": 90.0}),
        ("normalize_weights", {"fold": False}),
    ],
)
def test_the_onnx_file_is_changed_alike(name, technique, settings, given, tmp_path):
    if technique == "prune_activation" and name in {"depthwise", "heads"}:
        pytest.skip("the file has the activation or the bias in several nodes, where layers end sooner")
    place = given(name)
    assert_alike(place, apply(technique, place, tmp_path, **settings))


def test_weights_that_meet_small_inputs_go_first(given, tmp_path):
    place = given("heads")
    notes = work.transformed(
        "prune_weight_activation", "keras", place / "model.keras", tmp_path / "out", place / "data", small_layers=True
    )
    seen = next(iter(Dataset.open(place / "data").calibration().values())).astype(np.float64)
    before, after = work.weights_of(place / "model.keras"), work.weights_of(tmp_path / "out")
    first = next(name for name, values in before.items() if values.shape == (8, 12))
    scores = np.abs(before[first]) * np.sqrt(np.square(seen).sum((0, 1)))[:, None]
    np.testing.assert_array_equal(after[first], np.where(scores > np.median(scores, axis=0), before[first], 0))
    assert notes["sparsity"] == 0.5
    assert all(np.array_equal(after[name], values) for name, values in before.items() if values.ndim == 1)


def test_a_pruned_channel_is_zero_behind_its_normalization(folder, tmp_path):
    source = work.made("residual_cnn", folder)
    x = np.random.default_rng(0).random((60, 8, 8, 1)).astype(np.float32)
    Dataset.from_arrays(x, calibration_size=40).save(tmp_path / "data")
    notes = work.transformed("prune_activation", "keras", source, tmp_path / "out", tmp_path / "data", sparsity=0.25)
    after = work.weights_of(tmp_path / "out")
    gone = (after["second.kernel"] == 0).all((0, 1, 2))
    assert gone.sum() == 6
    assert (after["norm.gamma"][gone] == 0).all()
    assert (after["norm.beta"][gone] == 0).all()
    assert (after["norm.gamma"][~gone] != 0).all()
    assert notes["left_dense"] == ["class"]
    assert [unit[0] for unit in notes["units"]] == ["first", "second", "third", "hidden"]


@pytest.mark.parametrize("name", ["residual", "concatenated", "grouped", "depthwise"])
def test_models_with_folded_scales_compute_the_same(name, given, tmp_path):
    place = given(name)
    notes = work.transformed("normalize_weights", "keras", place / "model.keras", tmp_path / "out", place / "data")
    x = next(iter(Dataset.open(place / "data").calibration().values()))
    key = load(place / "model.keras").inputs[0].name
    given_out, found = (work.predicted(p, "keras", {key: x}) for p in (place / "model.keras", tmp_path / "out"))
    for output, values in given_out.items():
        np.testing.assert_allclose(found[output], values, atol=1e-4 * np.abs(values).max())
    before, after = work.weights_of(place / "model.keras"), work.weights_of(tmp_path / "out")
    done = {unit[0] for unit in notes["units"]}
    assert done
    assert done.isdisjoint(notes["not_normalized"])
    for layer in done:
        kernel = next(name for name in before if name.startswith(f"{layer}.") and before[name].ndim > 1)
        if not layer.startswith(("depthwise", "separable")):
            sums = np.abs(after[kernel]).sum(tuple(range(after[kernel].ndim - 1)))
            np.testing.assert_allclose(sums, 1.0, rtol=1e-5)
            assert not np.allclose(before[kernel], after[kernel])


def test_what_is_in_the_way_of_a_scale_is_named(given, tmp_path):
    place = given("depthwise")
    notes = work.transformed("normalize_weights", "keras", place / "model.keras", tmp_path / "out", place / "data")
    reasons = notes["not_normalized"]
    assert next(why for name, why in reasons.items() if name.startswith("separable")).startswith("it reaches elu (")
    assert "it reaches an output of the model" in reasons.values()


def test_a_model_whose_layers_hide_what_they_multiply_is_refused(folder, tmp_path):
    source = work.made("wrapped_recurrent", folder)
    x = np.random.default_rng(0).normal(0, 1, (60, 6, 3)).astype(np.float32)
    Dataset.from_arrays(x, calibration_size=20).save(tmp_path / "data")
    with pytest.raises(UnsupportedModelError, match=r"by what it multiplies.*prune_magnitude"):
        work.transformed("prune_weight_activation", "keras", source, tmp_path / "out", tmp_path / "data")


@pytest.mark.parametrize(
    ("technique", "settings"),
    [
        ("prune_weight_activation", {"sparsity": 0.0}),
        ("prune_activation", {"sparsity": 0.0}),
        ("prune_magnitude", {"sparsity": 0.0, "epochs": 0}),
        ("clip_weights", {"percentile": 100.0}),
        ("cut_layers", {"count": 0}),
    ],
)
def test_neutral_settings_change_nothing(technique, settings, folder, tmp_path):
    source = work.made("residual_cnn", folder)
    x = np.random.default_rng(0).random((60, 8, 8, 1)).astype(np.float32)
    Dataset.from_arrays(x, calibration_size=40).save(tmp_path / "data")
    work.transformed(technique, "keras", source, tmp_path / "out", tmp_path / "data", **settings)
    before, after = work.weights_of(source), work.weights_of(tmp_path / "out")
    assert before.keys() == after.keys()
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)

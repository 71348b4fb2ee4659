import zipfile

import numpy as np
import pytest

from deploykit.converters._keras import argument_names
from deploykit.core.errors import ModelFileError, UnsafeModelError, UnsupportedModelError
from deploykit.loading._load import load
from deploykit.testing import models, work


def difference(path, source):
    wanted = work.outputs_of(source)
    found = work.predicted(path, load(path).format, work.examples_of(source))
    assert set(found) == set(wanted)
    return max(np.abs(found[k] - wanted[k]).max() / np.abs(wanted[k]).max() for k in wanted)


@pytest.mark.parametrize("converter", ["keras_to_tflite", "keras_to_onnx"])  # both go through a SavedModel
@pytest.mark.parametrize("name", ["sequential", "operators", "grouped", "dictionaries", "normalization", "attention"])
def test_outputs_stay(name, converter, folder, tmp_path):
    source = work.made(name, folder)
    work.converted(converter, source, tmp_path / "out")
    assert difference(tmp_path / "out", source) < 1e-4


@pytest.mark.parametrize("converter", ["keras_to_saved_model", "keras_to_onnx"])
def test_layer_names_tensorflow_refuses_are_changed(converter, folder, tmp_path):
    source = work.made("underscores", folder)
    work.converted(converter, source, tmp_path / "out")
    model = load(tmp_path / "out")
    feeds = {model.inputs[0].name: work.examples_of(source)["_features"]}
    found = next(iter(work.predicted(tmp_path / "out", model.format, feeds).values()))
    wanted = work.outputs_of(source)["_top"]
    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize("converter", ["keras_to_saved_model", "keras_to_tflite", "keras_to_onnx"])
def test_several_outputs_keep_their_names(converter, folder, tmp_path):
    source = work.made("two_inputs", folder)
    work.converted(converter, source, tmp_path / "out")
    model = load(tmp_path / "out")
    assert {s.name for s in model.inputs} == {"left", "right"}
    assert {s.name for s in model.outputs} == {"score", "label"}
    assert difference(tmp_path / "out", source) < 1e-4


def test_onnx_keeps_the_order_of_inputs_and_outputs(folder, tmp_path):
    work.converted("keras_to_onnx", work.made("two_inputs", folder), tmp_path / "out")
    model = load(tmp_path / "out")
    assert [s.name for s in model.inputs] == ["right", "left"]
    assert [s.name for s in model.outputs] == ["score", "label"]


@pytest.mark.parametrize("converter", ["keras_to_tflite", "keras_to_onnx"])
def test_mixed_precision_becomes_float32(converter, folder, tmp_path):
    source = work.made("mixed_precision", folder)
    work.converted(converter, source, tmp_path / "out")
    assert 0 < difference(tmp_path / "out", source) < 0.01


def test_a_lookup_table_travels_in_a_saved_model(folder, tmp_path):
    source = work.made("text", folder)
    work.converted("keras_to_saved_model", source, tmp_path / "out")
    wanted = work.outputs_of(source)
    found = work.predicted(tmp_path / "out", "saved_model", work.examples_of(source))
    for key, value in wanted.items():
        np.testing.assert_allclose(found[key], value, atol=1e-6)


def test_a_lambda_layer_is_refused_unless_trusted(tmp_path):
    source = models.build("lambda_keras", tmp_path)
    with pytest.raises(UnsafeModelError, match="trusted=True"):
        work.converted("keras_to_saved_model", source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    work.converted("keras_to_saved_model", source, tmp_path / "out", trusted=True)
    found = work.predicted(tmp_path / "out", "saved_model", {"features": np.ones((2, 4), np.float32)})
    assert (found["double"] == 2).all()


def test_a_subclassed_model_is_called_once_and_converted(tmp_path):
    path = tmp_path / "subclassed.keras"
    work.run("make_subclassed", "tensorflow", path=str(path))
    work.converted("keras_to_onnx", path, tmp_path / "out")
    found = work.predicted(tmp_path / "out", "onnx", {"input": np.ones((2, 4), np.float32)})
    np.testing.assert_allclose(found["output_0"], np.full((2, 3), 2.0))


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "broken.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(ModelFileError, match=r"broken\.keras"):
        work.converted("keras_to_saved_model", path, tmp_path / "out")


def test_an_old_file_keras_3_cannot_read_names_the_way_out(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "old.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = '{"class_name": "Functional", "config": {"layers": [{"class_name": "Vintage"}]}}'
    with pytest.raises((ModelFileError, UnsupportedModelError)) as caught:
        work.converted("h5_to_keras", path, tmp_path / "out")
    assert caught.value.remedy


def test_input_names_become_parameter_names():
    names = ["image", "a-b", "a_b", "_x", "2nd", "wörter"]
    assert argument_names(names) == ["image", "a_b", "a_b_1", "input_x", "input_2nd", "w_rter"]


def test_equal_output_names_are_told_apart(folder, tmp_path):
    source = work.made("twice_the_same_output", folder)
    work.converted("keras_to_saved_model", source, tmp_path / "out")
    assert {s.name for s in load(tmp_path / "out").outputs} == {"shared", "shared_1"}
    assert difference(tmp_path / "out", source) < 1e-6

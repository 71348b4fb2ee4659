import json

import h5py
import numpy as np
import pytest

from deploykit.core.errors import ModelFileError, UnsafeModelError, UnsupportedModelError
from deploykit.core.model import Layer, TensorSpec
from deploykit.loading._load import load


def edit_config(path, change):
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        file.attrs["model_config"] = json.dumps(change(config) or config)
    return path


def test_a_file_of_keras_3(zoo):
    model, same = load(zoo("cnn_h5")), load(zoo("cnn_keras"))
    assert model.format == "h5"
    assert (model.inputs, model.outputs, model.layers) == (same.inputs, same.outputs, same.layers)
    assert (model.parameter_count, model.warnings) == (211, ())


def test_a_file_of_the_legacy_package(made, tmp_path):
    path = tmp_path / "old.h5"
    told = made("legacy", path=path)
    model = load(path)
    assert model.inputs == (TensorSpec("image", (None, 8, 8, 1), "float32"),)
    assert model.outputs == (TensorSpec("class", (None, 3), "float32", operator="Dense softmax"),)
    assert model.parameter_count == told["count"]
    layers = {layer.name.split("/")[-1]: layer for layer in model.layers}
    assert layers["conv"].shape == (None, 6, 6, 4)
    assert layers["conv"].parameters == 40
    assert layers["flat"].shape == (None, 144)
    assert (layers["add"].shape, layers["class"].parameters) == ((None, 5), 18)


def test_a_truncated_file_says_how_much_is_there(copy, refused):
    path = copy("cnn_h5")
    whole = path.read_bytes()
    path.write_bytes(whole[:20_000])
    refused(path, ModelFileError, f"truncated: 20,000 of {len(whole):,} bytes are there")
    path.write_bytes(whole[:20])
    refused(path, ModelFileError, "truncated: 20 bytes")


def test_a_file_of_weights_only(tmp_path, refused):
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        file["dense/kernel"] = np.zeros((3, 2))
    refused(path, ModelFileError, "an HDF5 file without a model", "holds 1 arrays", "model.save('model.keras')")


@pytest.mark.parametrize(
    ("config", "found"),
    [("{nope", "model_config is damaged"), ("[" * 400, "nested deeper"), ("{}", "its config lacks 'config'")],
)
def test_a_damaged_config(copy, refused, config, found):
    path = copy("cnn_h5")
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = config
    refused(path, ModelFileError, found)


def test_code_and_unknown_layers_are_refused(copy, refused):
    def rename(kind):
        def change(config):
            config["config"]["layers"][6]["class_name"] = kind

        return change

    refused(edit_config(copy("cnn_h5"), rename("Lambda")), UnsafeModelError, "layer 'pool' is a Lambda layer")
    refused(edit_config(copy("cnn_h5"), rename("Mine")), UnsupportedModelError, "layer 'pool' is a 'Mine'", "imports=")


def test_a_custom_layer(made, tmp_path, refused):
    path = tmp_path / "m.h5"
    made("custom", kind="Twice", path=path)
    refused(path, UnsupportedModelError, "layer 'own'", "imports=")
    model = load(path, imports=["my_layers"])
    assert model.layers[-1] == Layer("own", "Twice", (None, 3), 0, "other")


def test_weights_that_are_no_numbers_are_named(copy):
    path = copy("cnn_h5")
    with h5py.File(path, "r+") as file:
        file["model_weights/conv/conv/kernel"][0, 0, 0, 0] = np.nan
    (warning,) = load(path).warnings
    assert "the weights 'model_weights/conv/conv/kernel' hold NaN" in warning


def test_names_that_are_no_text(copy, refused):
    path = copy("cnn_h5")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"InputLayer", b"Input\xffayer"))
    refused(path, ModelFileError, "model_config is damaged")
    path.write_bytes(data.replace(b"depthwise\0", b"depth\xffise\0"))
    refused(path, ModelFileError, "damaged")

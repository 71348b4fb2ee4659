"""Keras models that live in the process that calls ``load``: here a child, so that pytest needs no TensorFlow."""

from pathlib import Path

import pytest

from deploykit.core import errors
from deploykit.core.errors import SettingError, UnsafeModelError, UnsupportedModelError
from deploykit.core.model import Model
from deploykit.loading import _kernel_model
from deploykit.loading._load import load


@pytest.fixture
def loaded(made, tmp_path):
    """Load a live model: what comes of each call of ``load``."""

    def run(kind, **options):
        told = made("live", kind=kind, cache=tmp_path / "cache", options=options)
        if "error" in told:
            raise errors.from_json(told["error"])
        return [Model.from_json(model) for model in told["models"]]

    return run


def test_a_live_model_is_that_of_its_file(loaded, zoo, tmp_path):
    first, again, trained = loaded("cnn")
    file = load(zoo("cnn_keras"))
    assert (first.layers, first.inputs, first.outputs) == (file.layers, file.inputs, file.outputs)
    assert (first.name, first.origin, first.format, first.warnings) == ("cnn", "cnn", "keras", ())
    assert Path(first.path).parent == tmp_path / "cache" / "models"
    assert again == first  # equal models are one file
    assert trained.digest != first.digest
    assert trained.size_bytes == first.size_bytes  # without the optimizer's state
    assert trained.warnings == ()
    assert load(first.path).digest == first.digest
    assert sorted(p.name for p in Path(first.path).parent.iterdir()) == sorted(
        Path(p).name for p in {first.path, trained.path}
    )


def test_the_modules_of_custom_layers_are_found(loaded):
    (model,) = loaded("custom")
    assert model.imports == ("my_layers",)
    assert [layer.type for layer in model.layers] == ["InputLayer", "Dense", "Thrice"]


def test_a_live_lambda_must_be_trusted_too(loaded):
    with pytest.raises(UnsafeModelError, match=r"^the model 'with_lambda': layer 'double' is a Lambda layer"):
        loaded("lambda")
    (model,) = loaded("lambda", trusted=True)
    assert model.trusted


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("unbuilt", UnsupportedModelError, r"'unbuilt' has never been called.* call it once on data"),
        ("subclass", UnsupportedModelError, r"'net' has never been called"),
        (
            "legacy",
            UnsupportedModelError,
            r"Expected a Keras 3 model, got a tf_keras object \(Sequential\).* model.save\('model.h5'\)",
        ),
        ("layer", SettingError, r"Expected a model, got a Keras layer \(Dense\)\. Remedy: wrap it"),
        ("main", UnsupportedModelError, r"'Here' of layer 'here' is defined in this notebook.* move it to a module"),
        ("unsaved", UnsupportedModelError, r"'needy' cannot be saved by Keras.* get_config"),
    ],
)
def test_what_cannot_be_loaded_says_what_to_do(loaded, kind, error, words):
    with pytest.raises(error, match=words):
        loaded(kind)


def test_a_called_subclass(loaded):
    (model,) = loaded("called")
    assert [str(spec) for spec in (*model.inputs, *model.outputs)] == [
        "input: float32 (?, 4)",
        "output_0: float32 (?, 3)",
    ]


def test_models_of_torch_are_sent_to_onnx():
    class Module:
        pass

    Module.__module__ = "torch.nn"
    with pytest.raises(SettingError, match=r"Expected a model, got torch.nn.*export it with torch.onnx.export"):
        load(Module())


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("DEPLOYKIT_CACHE", str(tmp_path / "mine"))
    assert _kernel_model.cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("DEPLOYKIT_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _kernel_model.cache_folder() == tmp_path / "deploykit"
    blocker = tmp_path / "file"
    blocker.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocker))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    assert _kernel_model.cache_folder().parent == tmp_path / "temporary"

"""Models that live in the process that calls ``load``; with TensorFlow it is a child, so that pytest needs none."""

import re
from pathlib import Path

import onnx
import pytest

from deploykit.core import errors, files
from deploykit.core.errors import SettingError, UnsafeModelError, UnsupportedModelError
from deploykit.core.model import Model
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


def test_a_live_module_of_tensorflow_is_a_saved_model(loaded):
    """A module, and what TensorFlow loads again of its SavedModel."""
    for model in loaded("module"):
        assert (model.format, model.name, model.parameter_count) == ("saved_model", "doubling", 3)
        assert [str(s) for s in (*model.inputs, *model.outputs)] == ["x: float32 (?, 3)", "output_0: float32 (?, 3)"]
        assert not list(Path(model.path).glob("fingerprint*"))


def test_a_module_without_a_signature_says_what_to_do(loaded):
    with pytest.raises(UnsupportedModelError, match=r"^the model 'silent': the SavedModel has no signature"):
        loaded("silent")


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("DEPLOYKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def test_a_parsed_onnx_model_is_that_of_its_file(zoo, cache):
    parsed = onnx.load(zoo("cnn_onnx"))
    model, file = load(parsed), load(zoo("cnn_onnx"))
    assert (model.layers, model.inputs, model.outputs) == (file.layers, file.inputs, file.outputs)
    assert (model.format, model.name) == ("onnx", parsed.graph.name)
    assert load(parsed) == model
    assert [p.name for p in cache.iterdir()] == [Path(model.path).name]
    assert onnx.load(model.path) == parsed


def test_weights_in_other_files_are_not_looked_for(copy, cache):
    parsed = onnx.load(copy("cnn_external_onnx"), load_external_data=False)
    with pytest.raises(UnsupportedModelError, match=r"weights in files of their own") as caught:
        load(parsed)
    assert "pass the path of the .onnx file" in caught.value.remedy
    assert not cache.exists()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_the_bytes_of_a_tflite_file(zoo, cache, kind):
    data = zoo("cnn_tflite").read_bytes()
    model = load(kind(data))
    assert (model.format, model.name, model.digest) == ("tflite", "model", load(zoo("cnn_tflite")).digest)
    assert Path(model.path).read_bytes() == data


def test_a_damaged_object_is_named_and_not_its_place_in_the_cache(zoo, cache):
    with pytest.raises(errors.ModelFileError, match=r"^the model 'model': truncated") as caught:
        load(zoo("cnn_tflite").read_bytes()[:200])
    assert str(cache) not in str(caught.value)


@pytest.mark.parametrize(("thing", "name"), [(5, "builtins.int"), (b"GGUF", "builtins.bytes")])
def test_an_object_that_nothing_takes_says_what_would_be(thing, name, cache):
    with pytest.raises(SettingError, match=rf"^Expected a model, got {re.escape(name)}\.") as caught:
        load(thing)
    words = ("path of a model", "keras.Model", "onnx.ModelProto", "scikit-learn", "torch.nn.Module", "tf.Module")
    assert [w for w in words if w not in caught.value.remedy] == []
    assert not cache.exists()


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("DEPLOYKIT_CACHE", str(tmp_path / "mine"))
    assert files.cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("DEPLOYKIT_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert files.cache_folder() == tmp_path / "deploykit"
    blocker = tmp_path / "file"
    blocker.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocker))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    assert files.cache_folder().parent == tmp_path / "temporary"

"""Reading, mending, tracing and writing Keras 3 models; all of it runs in child processes."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deploykit.core.errors import CandidateError, ModelFileError, UnsafeModelError, UnsupportedModelError
from deploykit.core.extras import require

#: Name of the signature every tool reads by default.
SIGNATURE = "serving_default"
#: What TensorFlow accepts as the first part of a variable's name.
_SCOPE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")
_UNKNOWN_CLASS = re.compile(r"[Cc]ould not (?:locate|deserialize) (?:class|function|object)? ?'?(?P<name>[\w.>]+)'?")


def load(path: Path, *, trusted: bool, suffix: str = ".keras") -> Any:
    """Load a Keras 3 model for inference.

    Args:
        path: The file, whatever its ending.
        trusted: Whether code inside the model may run.
        suffix: The ending Keras expects of this kind of file.

    Raises:
        UnsafeModelError: The model holds code and is not trusted.
        UnsupportedModelError: It uses a class that cannot be found.
        ModelFileError: Keras cannot read the file.
    """
    keras = require("keras", "tensorflow")
    with _ending_in(path, suffix) as file:
        try:
            return keras.saving.load_model(file, compile=False, safe_mode=not trusted)
        except Exception as error:  # Keras raises whatever its layers raise
            raise _load_error(path, error) from error


def _load_error(path: Path, error: Exception) -> Exception:
    text = " ".join(str(error).split())
    if "safe_mode" in text or "unsafe deserialization" in text:
        return UnsafeModelError(
            f"{path.name}: loading it would run code that comes with the model: {text[:300]}",
            remedy="replace the layer, or pass trusted=True in code if you trust where the file comes from.",
        )
    if found := _UNKNOWN_CLASS.search(text):
        return UnsupportedModelError(
            f"{path.name} uses {found['name']!r}, which Keras does not know.",
            remedy="register it with keras.saving.register_keras_serializable and pass imports=['its_module'].",
        )
    return ModelFileError(
        f"{path.name}: Keras cannot read it: {type(error).__name__}: {text[:400]}",
        remedy="load it in the version of Keras that wrote it, and save it again.",
    )


@contextlib.contextmanager
def _ending_in(path: Path, suffix: str) -> Iterator[Path]:
    """The file under a name with the ending Keras insists on."""
    if path.suffix == suffix:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
        named = Path(folder) / f"model{suffix}"
        try:
            named.symlink_to(path.resolve())
        except OSError:  # no links on this file system, or not allowed
            shutil.copyfile(path, named)
        yield named


def save(model: Any, target: Path) -> None:
    """Write a ``.keras`` file to ``target``, whatever its ending."""
    written = target.with_name(f"{target.name}.tmp.keras")
    model.save(written)
    written.replace(target)


def exportable(model: Any) -> Any:
    """The model, or a copy whose layer names TensorFlow accepts in variable names.

    A layer called ``_stem``, say, loads and runs, but cannot be written to a SavedModel.

    Raises:
        UnsupportedModelError: A name is refused and the model cannot be copied, as it is no graph of layers.
    """
    keras = require("keras", "tensorflow")
    refused = {layer.name for layer in all_layers(model) if not _SCOPE.fullmatch(layer.name)}
    if not refused:
        return model
    names = {layer.name for layer in all_layers(model)}
    renamed = {old: _fresh(old, names) for old in sorted(refused)}

    def copied(layer: Any) -> Any:
        config = layer.get_config()
        config["name"] = renamed.get(layer.name, layer.name)
        return type(layer).from_config(config)

    try:
        copy = keras.models.clone_model(model, clone_function=copied, recursive=_is_nested(model))
    except (TypeError, ValueError) as error:
        raise UnsupportedModelError(
            f"TensorFlow refuses the layer name(s) {', '.join(map(repr, sorted(refused)))}.",
            remedy="give these layers names that begin with a letter, and save the model again.",
        ) from error
    copy.set_weights(model.get_weights())
    return copy


def _is_nested(model: Any) -> bool:
    keras = require("keras", "tensorflow")
    return any(isinstance(layer, keras.Model) for layer in model.layers)


def all_layers(model: Any) -> Iterator[Any]:
    """The layers of a model, those of nested models included (a shared layer can come twice)."""
    for layer in getattr(model, "layers", ()):
        yield layer
        yield from all_layers(layer)


def _fresh(name: str, taken: set[str]) -> str:
    base = "layer" + re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    fresh, count = base, 1
    while fresh in taken:
        count += 1
        fresh = f"{base}_{count}"
    taken.add(fresh)
    return fresh


def argument_names(names: Sequence[str]) -> list[str]:
    """Input names as TensorFlow accepts them as parameter names, each one once."""
    taken: set[str] = set()
    found = []
    for name in names:
        plain = re.sub(r"\W", "_", name, flags=re.ASCII)
        plain = plain if re.match(r"[A-Za-z]", plain) else f"input_{plain.lstrip('_')}"
        found.append(_distinct(plain, taken))
    return found


def _distinct(name: str, taken: set[str]) -> str:
    fresh, count = name, 0
    while fresh in taken:
        count += 1
        fresh = f"{name}_{count}"
    taken.add(fresh)
    return fresh


def output_names(model: Any, count: int) -> list[str]:
    """Names of the outputs: of the layers that make them, each one once."""
    keras = require("keras", "tensorflow")
    names = [model.layers[-1].name] if isinstance(model, keras.Sequential) else getattr(model, "output_names", ())
    if len(names) != count:
        names = [f"output_{i}" for i in range(count)]
    taken: set[str] = set()
    return [_distinct(name, taken) for name in names]


def call_once(model: Any) -> None:
    """Call the model on zeros: some exporters refuse a model that was loaded and never called."""
    tf = require("tensorflow", "tensorflow")
    zeros = [tf.zeros([d or 1 for d in t.shape], t.dtype) for t in model.inputs]
    model(_packed(model, zeros), training=False)


def _packed(model: Any, tensors: Sequence[Any]) -> Any:
    """Tensors in the structure the model was made with: one, a list or a dictionary."""
    keras = require("keras", "tensorflow")
    structure = getattr(model, "_inputs_struct", None)
    if structure is not None:
        return keras.tree.pack_sequence_as(structure, list(tensors))
    return tensors[0] if len(tensors) == 1 else list(tensors)


def export_saved_model(model: Any, target: Path) -> None:
    """Write a SavedModel whose serving signature has the model's own input and output names.

    ``model.export`` would call the outputs ``output_0``, ``output_1``; a served model is easier to use, and candidates
    of several formats easier to compare, when they keep their names.

    Raises:
        UnsupportedModelError: The model is not a graph of layers with known inputs, or cannot be traced.
    """
    keras = require("keras", "tensorflow")
    model = exportable(model)
    archive = keras.export.ExportArchive()
    try:
        if getattr(model, "inputs", None):
            _add_endpoint(archive, model)
            archive.write_out(str(target), verbose=False)
        else:
            model.export(str(target), format="tf_saved_model", verbose=False)
    except Exception as error:  # a layer's own code can raise anything while it is traced
        if isinstance(error, MemoryError):
            raise
        text = " ".join(str(error).split())
        raise UnsupportedModelError(
            f"Keras cannot export {model.name!r} as a SavedModel: {type(error).__name__}: {text[:400]}",
            remedy="make the model with the functional API, and its custom layers of TensorFlow or keras.ops only.",
        ) from error


def _add_endpoint(archive: Any, model: Any) -> None:
    keras, tf = require("keras", "tensorflow"), require("tensorflow", "tensorflow")
    names = argument_names([t.name for t in model.inputs])
    specs = [tf.TensorSpec(t.shape, t.dtype, name=n) for t, n in zip(model.inputs, names, strict=True)]

    def serve(*tensors: Any) -> dict[str, Any]:
        outputs = keras.tree.flatten(model(_packed(model, tensors), training=False))
        return dict(zip(output_names(model, len(outputs)), outputs, strict=True))

    archive.track(model)
    archive.add_endpoint("serve", serve, input_signature=specs)


@contextlib.contextmanager
def as_saved_model(model: Any) -> Iterator[Path]:
    """The model as a SavedModel in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
        path = Path(folder) / "saved_model"
        export_saved_model(model, path)
        yield path


def signature_function(path: Path) -> tuple[Any, Any]:
    """The loaded SavedModel (it owns the variables) and its serving signature.

    Raises:
        UnsupportedModelError: It has no serving signature.
        CandidateError: TensorFlow cannot load it.
    """
    tf = require("tensorflow", "tensorflow")
    try:
        loaded = tf.saved_model.load(str(path))
    except (OSError, ValueError, tf.errors.OpError) as error:
        text = " ".join(str(error).split())
        raise CandidateError(f"TensorFlow cannot load the SavedModel {path.name}: {text[:400]}") from error
    if SIGNATURE not in loaded.signatures:
        raise UnsupportedModelError(
            f"{path.name} has no signature {SIGNATURE!r}; it has {', '.join(loaded.signatures) or 'none'}.",
            remedy="save the model with a serving signature (model.export in Keras 3).",
        )
    return loaded, loaded.signatures[SIGNATURE]

"""Reading, mending, tracing and writing Keras 3 models; all of it runs in child processes."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploykit.converters._contract import Job
from deploykit.core.errors import CandidateError, UnsupportedModelError
from deploykit.core.extras import require
from deploykit.loading._keras_open import open_keras

#: Name of the signature every tool reads by default.
SIGNATURE = "serving_default"
#: What TensorFlow accepts as the first part of a variable's name.
_SCOPE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")


def load(job: Job, *, suffix: str = ".keras") -> Any:
    """Load the Keras 3 model of a job.

    Args:
        job: Names the file, the modules it needs and whether it is trusted.
        suffix: The ending Keras expects of this kind of file.

    Returns:
        A functional or Sequential model; a subclassed model is called once and wrapped, since a model that was never
        called has no graph to convert.

    Raises:
        UnsafeModelError: The model holds code and is not trusted.
        UnsupportedModelError: It uses a class that is not known, or its inputs are not known.
        ModelFileError: Keras cannot read the file.
    """
    model = open_keras(job.source, suffix=suffix, imports=job.imports, trusted=job.trusted)
    return model if getattr(model, "inputs", None) else _functional(model)


def _functional(model: Any) -> Any:
    keras = require("keras", "tensorflow")
    shape = (model.get_build_config() or {}).get("input_shape")
    if not (isinstance(shape, list | tuple) and all(d is None or isinstance(d, int) for d in shape)):
        raise UnsupportedModelError(
            f"the model is a {type(model).__name__}, a subclass of keras.Model whose inputs are not known.",
            remedy="call it once on one array before you save it, or wrap it: keras.Model(inputs, model(inputs)).",
        )
    example = keras.Input(batch_shape=(None, *shape[1:]), dtype=model.input_dtype, name="input")
    given = model(example)
    flat = keras.tree.flatten(given)
    names = list(given) if isinstance(given, dict) else [f"output_{i}" for i in range(len(flat))]
    named = [keras.layers.Identity(name=name)(tensor) for name, tensor in zip(names, flat, strict=True)]
    return keras.Model(example, named if len(named) > 1 else named[0], name=model.name)


def save(model: Any, target: Path) -> None:
    """Write a ``.keras`` file to ``target``, whatever its ending."""
    written = target.with_name(f"{target.name}.tmp.keras")
    model.save(written)
    written.replace(target)


def exportable(model: Any) -> Any:
    """The model, or a copy that TensorFlow can write and other runtimes can run.

    A layer called ``_stem``, say, loads and runs, but its variables cannot be written to a SavedModel: it gets another
    name. A layer of mixed precision computes in float32, since CPU runtimes have no half-precision kernels.

    Raises:
        UnsupportedModelError: The model would have to be copied, but is no graph of layers.
    """
    keras = require("keras", "tensorflow")
    refused = {layer.name for layer in all_layers(model) if not _SCOPE.fullmatch(layer.name)}
    mixed = {layer.name for layer in all_layers(model) if is_mixed(layer)}
    if not refused and not mixed:
        return model
    names = {layer.name for layer in all_layers(model)}
    renamed = {old: _fresh(old, names) for old in sorted(refused)}

    def copied(layer: Any) -> Any:
        config = layer.get_config()
        config["name"] = renamed.get(layer.name, layer.name)
        if layer.name in mixed:
            config["dtype"] = "float32"
        return type(layer).from_config(config)

    try:
        copy = keras.models.clone_model(model, clone_function=copied, recursive=_is_nested(model))
    except (TypeError, ValueError) as error:
        raise UnsupportedModelError(
            f"the layers {', '.join(map(repr, sorted(refused | mixed)))} must be renamed or made float32, but the "
            "model cannot be copied.",
            remedy="give all layers names that begin with a letter and the policy float32, and save the model again.",
        ) from error
    copy.set_weights(model.get_weights())
    return copy


def is_mixed(layer: Any) -> bool:
    """Whether a layer keeps its weights in a wider type than it computes in."""
    policy = getattr(layer, "dtype_policy", None)
    return policy is not None and policy.compute_dtype != policy.variable_dtype


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


def output_names(model: Any) -> list[str]:
    """Names of the outputs: of the layers that make them, each one once."""
    keras = require("keras", "tensorflow")
    if isinstance(model, keras.Sequential):
        return [model.layers[-1].name]
    taken: set[str] = set()
    return [_distinct(name, taken) for name in model.output_names]


def packed(model: Any, tensors: Sequence[Any]) -> Any:
    """Tensors in the structure the model takes: one, a list or a dictionary."""
    keras = require("keras", "tensorflow")
    structure = getattr(model, "_inputs_struct", None)
    if structure is not None:
        return keras.tree.pack_sequence_as(structure, list(tensors))
    return tensors[0] if len(tensors) == 1 else list(tensors)


@dataclass(frozen=True)
class Names:
    """Names of a signature in the model's order, which a SavedModel does not keep."""

    inputs: Sequence[str]
    outputs: Sequence[str]


def export_saved_model(model: Any, target: Path) -> Names:
    """Write a SavedModel whose serving signature has the model's own input and output names.

    ``model.export`` would call the outputs ``output_0``, ``output_1``; a served model is easier to use, and candidates
    of several formats easier to compare, when they keep their names.

    Returns:
        Names of inputs and outputs as they were written.

    Raises:
        UnsupportedModelError: The model cannot be traced.
    """
    keras, tf = require("keras", "tensorflow"), require("tensorflow", "tensorflow")
    model = exportable(model)
    names, results = argument_names([t.name for t in model.inputs]), output_names(model)
    specs = [tf.TensorSpec(t.shape, t.dtype, name=n) for t, n in zip(model.inputs, names, strict=True)]

    def serve(*tensors: Any) -> dict[str, Any]:
        outputs = keras.tree.flatten(model(packed(model, tensors), training=False))
        return dict(zip(results, outputs, strict=True))

    def write(tracked: Any) -> None:
        archive = keras.export.ExportArchive()
        if tracked is not None:
            archive.track(tracked)
        archive.add_endpoint("serve", serve, input_signature=specs)
        archive.write_out(str(target), verbose=False)

    try:
        try:
            write(None)
        except AssertionError:  # lookup tables must be tracked; tracking traces everything once more, so not at first
            write(model)
    except MemoryError:
        raise
    except Exception as error:  # a layer's own code can raise anything while it is traced
        text = " ".join(str(error).split())
        raise UnsupportedModelError(
            f"TensorFlow cannot trace {model.name!r}: {type(error).__name__}: {text[:400]}",
            remedy="make the model with the functional API, and its custom layers of TensorFlow or keras.ops only.",
        ) from error
    return Names(names, results)


@contextlib.contextmanager
def as_saved_model(model: Any) -> Iterator[tuple[Path, Names]]:
    """The model as a SavedModel in a temporary folder, and its names in order."""
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
        path = Path(folder) / "saved_model"
        names = export_saved_model(model, path)
        yield path, names


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

"""Reading, fixing, tracing and writing Keras 3 models; all of it runs in child processes."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploykit.converters._contract import Job
from deploykit.converters._keras_edit import edit
from deploykit.core.errors import CandidateError, UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.model import signature_order
from deploykit.loading._keras.ends import distinct
from deploykit.loading._keras.open import called_once, ends, graph_of, open_keras

#: Name of the signature every tool reads by default.
SIGNATURE = "serving_default"


def load(job: Job, *, suffix: str = ".keras") -> Any:
    """Load the Keras 3 model of a job as it is.

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
    return model if graph_of(model) is not None else called_once(model, str(job.source))


@dataclass(frozen=True)
class Exportable:
    """A Keras model that TensorFlow can write and other runtimes can run.

    Attributes:
        model: The model.
        inputs: deploykit's name → place among the flat inputs, in order.
        outputs: The same for outputs.
    """

    model: Any
    inputs: dict[str, int]
    outputs: dict[str, int]


def load_exportable(job: Job) -> Exportable:
    """Load the model of a ``.keras`` file with layer names that TensorFlow accepts, in float32, and without state.

    Recurrent layers that carry their state from call to call start each call afresh: a runtime answers many askers.

    Raises:
        UnsafeModelError, UnsupportedModelError, ModelFileError: As `load`.
    """
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
        copy = Path(folder) / "model.keras"
        edits = edit(job.source, copy)
        file = copy if edits else job.source
        model = open_keras(file, imports=job.imports, trusted=job.trusted, shown=str(job.source))
    if edits.mixed:
        job.notes["precision"] = f"layers of mixed precision compute in float32: {', '.join(edits.mixed[:8])}"
    if reset := make_stateless(model):
        job.notes["state"] = f"each call starts with fresh state: {', '.join(reset)}"
    if graph_of(model) is None:
        model = called_once(model, str(job.source))
    return exportable(model, edits.names)


def save(model: Any, target: Path) -> None:
    """Write a ``.keras`` file to ``target``, whatever its ending."""
    written = target.with_name(f"{target.name}.tmp.keras")
    model.save(written)
    written.replace(target)


def is_mixed(layer: Any) -> bool:
    """Whether a layer keeps its weights in a wider type than it computes in."""
    policy = getattr(layer, "dtype_policy", None)
    return policy is not None and policy.compute_dtype != policy.variable_dtype


def all_layers(model: Any) -> Iterator[Any]:
    """The layers of a model, those of nested models included (a shared layer can come twice)."""
    for layer in getattr(model, "layers", ()):
        yield layer
        yield from all_layers(layer)


def exportable(model: Any, renamed: Mapping[str, str] | None = None) -> Exportable:
    """A functional or Sequential model with its names; ``renamed``: name of a layer → its name in the file."""
    keras = require("keras", "tensorflow")
    graph = graph_of(model)

    def places(structure: Any, named: list[tuple[str, Any]]) -> dict[str, int]:
        flat = [id(tensor) for tensor in keras.tree.flatten(structure)]
        return {name: flat.index(id(tensor)) for name, tensor in named}

    inputs, outputs = ends(graph, renamed)
    return Exportable(model, places(graph._inputs_struct, inputs), places(graph._outputs_struct, outputs))


def called(made: Exportable, feeds: Mapping[str, Any]) -> dict[str, Any]:
    """Call a model on tensors by input name; gives its outputs by name."""
    keras = require("keras", "tensorflow")
    structure = graph_of(made.model)._inputs_struct
    flat = [feeds[name] for name in sorted(made.inputs, key=made.inputs.__getitem__)]
    found = keras.tree.flatten(made.model(keras.tree.pack_sequence_as(structure, flat), training=False))
    return {name: found[place] for name, place in made.outputs.items()}


def make_stateless(model: Any) -> list[str]:
    """Let recurrent layers begin each call afresh; gives the names of those that carried state from call to call."""
    keras = require("keras", "tensorflow")
    kinds = (keras.layers.RNN, keras.layers.Bidirectional)
    found = [layer for layer in model._flatten_layers() if isinstance(layer, kinds) and layer.stateful]
    for layer in found:
        layer.stateful = False
    return [layer.name for layer in found]


def argument_names(names: Sequence[str]) -> list[str]:
    """Input names as TensorFlow accepts them as parameter names, each one once."""
    found = []
    for name in names:
        plain = re.sub(r"\W", "_", name, flags=re.ASCII)
        plain = plain if re.match(r"[A-Za-z]", plain) else f"input_{plain.lstrip('_')}"
        found.append(plain)
    return distinct(found)


@dataclass(frozen=True)
class Names:
    """Names of a signature in the model's order, which a SavedModel does not keep.

    Attributes:
        inputs: deploykit's name → name in the SavedModel.
        outputs: The same for outputs.
    """

    inputs: dict[str, str]
    outputs: dict[str, str]


def export_saved_model(made: Exportable, target: Path) -> Names:
    """Write a SavedModel whose serving signature has the model's own input and output names.

    ``model.export`` would call the outputs ``output_0``, ``output_1``; a served model is easier to use, and candidates
    of several formats easier to compare, when they keep their names. TensorFlow takes inputs as the parameters of a
    function, so some of their names change.

    Returns:
        The names as they were written.

    Raises:
        UnsupportedModelError: The model cannot be traced.
    """
    keras, tf = require("keras", "tensorflow"), require("tensorflow", "tensorflow")
    flat = keras.tree.flatten(graph_of(made.model)._inputs_struct)
    arguments = argument_names(list(made.inputs))
    tensors = [flat[place] for place in made.inputs.values()]
    specs = [tf.TensorSpec(t.shape, t.dtype, name=n) for t, n in zip(tensors, arguments, strict=True)]

    def serve(*given: Any) -> dict[str, Any]:
        found = called(made, dict(zip(made.inputs, given, strict=True)))
        return {name: tf.identity(tensor) for name, tensor in found.items()}  # an output may be an input

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
            write(made.model)
    except MemoryError:
        raise
    except Exception as error:  # a layer's own code can raise anything while it is traced
        text = " ".join(str(error).split())
        raise UnsupportedModelError(
            f"TensorFlow cannot trace {made.model.name!r}: {type(error).__name__}: {text[:400]}",
            remedy="build the model with the functional API, and its custom layers from TensorFlow or keras.ops only.",
        ) from error
    return Names(dict(zip(made.inputs, arguments, strict=True)), {name: name for name in made.outputs})


@contextlib.contextmanager
def as_saved_model(made: Exportable) -> Iterator[tuple[Path, Names]]:
    """The model as a SavedModel in a temporary folder, and its names in order."""
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
        path = Path(folder) / "saved_model"
        names = export_saved_model(made, path)
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


def signature_names(signature: Any) -> Names:
    """Names of a serving signature, in the order in which the reader of SavedModels lists them."""
    inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs
    return Names(*({key: key for key in sorted(keys, key=signature_order)} for keys in (inputs, outputs)))

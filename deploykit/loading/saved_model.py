"""TensorFlow's SavedModel: a folder with a graph, variables and assets. Read without TensorFlow."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from deploykit.core.errors import ModelFileError, UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.model import TensorSpec
from deploykit.loading._contract import Described, Format, Saved, Summary, Weight
from deploykit.loading._live import classes, keep
from deploykit.loading._saved_model.features import features_of
from deploykit.loading._saved_model.graph import MetaGraph, Signature, TensorInfo, read_saved_model, variable_name
from deploykit.loading._saved_model.kinds import KINDS
from deploykit.loading._saved_model.layers import collect
from deploykit.loading._saved_model.scan import check_operators, variables_of, written_by
from deploykit.readers import checkpoint as _checkpoint
from deploykit.readers.protobuf import WireError

GRAPH = "saved_model.pb"
#: The version of its schema, then the first graph.
_HEAD = b"\x08\x01\x12"
_FINGERPRINT = "fingerprint.pb"
_KERAS = frozenset({"keras", "tf_keras"})
_DEFAULT = "serving_default"
_INIT = "__saved_model_init_op"


class SavedModel(Format):
    """A folder that holds ``saved_model.pb``; its operators are scanned, since some touch files or run Python."""

    name = "saved_model"
    label = "SavedModel"
    help = "TensorFlow SavedModel folder."
    suffixes = ()
    is_folder = True
    frozen = ".pb"
    kinds = KINDS
    live = "a tf.Module with a signature"

    def matches(self, path: Path, head: bytes) -> bool:
        """A file ``saved_model.pb`` in the folder."""
        del head
        return (path / GRAPH).is_file()

    def mistake(self, path: Path, head: bytes) -> ModelFileError | None:
        """The graph's file, without the folder around it."""
        if path.name != GRAPH and not head.startswith(_HEAD):
            return None
        return ModelFileError(
            f"{path}: this is the graph of a SavedModel, and a SavedModel is the whole folder.",
            remedy=f"pass {path.parent}." if path.name == GRAPH else f"pass the folder that it was in as {GRAPH}.",
        )

    def takes(self, thing: object) -> bool:
        """What TensorFlow can save, but for models of Keras, whose own file says more of them."""
        found = classes(thing)
        return ("tensorflow", "AutoTrackable") in found and all(package not in _KERAS for package, _ in found)

    def save(self, thing: Any) -> Saved:
        """Let TensorFlow save it with the signatures that it has."""
        tf, name = require("tensorflow", ""), str(getattr(thing, "name", "") or type(thing).__name__)

        def write(folder: Path) -> None:
            try:
                tf.saved_model.save(thing, str(folder), signatures=getattr(thing, "signatures", None) or None)
            except Exception as error:
                raise UnsupportedModelError(
                    f"The object {name!r} cannot be saved by TensorFlow: {' '.join(str(error).split())[:300]}",
                    remedy="give it one method that is a tf.function with an input_signature.",
                ) from error
            (folder / _FINGERPRINT).unlink(missing_ok=True)  # it differs each time

        return Saved(keep("", write), name)

    def read(self, path: Path, *, trusted: bool, imports: tuple[str, ...]) -> Summary:
        """Scan the operators, then summarize the serving signature."""
        del imports
        file = path / GRAPH
        try:
            graphs = read_saved_model(memoryview(file.read_bytes()))
        except WireError as error:
            raise ModelFileError(
                f"{file}: truncated or damaged: {error}.", remedy="copy, download or export the model again."
            ) from error
        if not graphs:
            why = "it holds no graph" if file.stat().st_size else "the file is empty (0 bytes)"
            raise ModelFileError(f"{file}: {why}.", remedy="copy, download or export the model again.")
        if not trusted:
            for graph in graphs:
                check_operators(graph, str(file))
        meta = _serving(graphs)
        key, warnings = _choose(meta, path)
        signature = meta.signatures[key]
        _check_variables(path, meta, signature)
        layers, total = collect(meta, signature)
        return Summary(
            _specs(signature.inputs, path),
            _specs(signature.outputs, path),
            layers,
            total,
            (*warnings, *_flaws(path, meta)),
            stateful=written_by(meta, signature),
        )

    def signatures(self, path: Path) -> dict[str, Described]:
        """The serving graph's signatures."""
        graphs = read_saved_model(memoryview((path / GRAPH).read_bytes()))
        meta = _serving(graphs)
        return {
            name: Described(
                found.method,
                {tensor.key: tensor.name for tensor in found.inputs},
                {tensor.key: tensor.name for tensor in found.outputs},
                written_by(meta, found),
                features_of(meta, found),
            )
            for name, found in sorted(meta.signatures.items())
            if name != _INIT and found.outputs
        }

    def weights(self, path: Path) -> Iterator[Weight]:
        """Variables of the checkpoint by the layer their name tells; frozen graphs have none."""
        folder = path / "variables"
        if not folder.is_dir() or not any(folder.iterdir()):
            return
        graphs = read_saved_model(memoryview((path / GRAPH).read_bytes()))
        meta = _serving(graphs)
        seen: set[tuple[str, tuple[int, ...], str]] = set()
        for entry in _checkpoint.read_entries(folder, str(path)):
            if entry.dtype in ("float16", "float32", "float64") and len(entry.shape) >= 2:
                name = variable_name(meta, entry.key)
                shape = tuple(int(d or 0) for d in entry.shape)
                load = partial(_checkpoint.values, entry)
                copy = (name, shape, hashlib.sha256(load().tobytes()).hexdigest())
                if copy not in seen:  # Keras saves its variables twice, under two keys
                    seen.add(copy)
                    yield Weight(name.rpartition("/")[0] or name, name, shape, entry.dtype, load)


def _serving(graphs: Sequence[MetaGraph]) -> MetaGraph:
    """The graph to serve."""
    return next((graph for graph in graphs if "serve" in graph.tags), graphs[0])


def _choose(meta: MetaGraph, path: Path) -> tuple[str, tuple[str, ...]]:
    """The signature to use, and a warning when it is not the default one."""
    names = sorted(name for name, found in meta.signatures.items() if name != _INIT and found.outputs)
    if not names:
        raise UnsupportedModelError(
            f"{path}: the SavedModel has no signature, so it cannot be served.",
            remedy="export it with model.export(path), or tf.saved_model.save(…, signatures=…).",
        )
    if _DEFAULT in names:
        return _DEFAULT, ()
    return names[0], (f"no signature {_DEFAULT!r}; using {names[0]!r} out of {', '.join(names)}.",)


def _check_variables(path: Path, meta: MetaGraph, signature: Signature) -> None:
    """Refuse a folder that was copied without its variables: it loads nowhere."""
    if (path / "variables" / "variables.index").is_file():
        return
    if names := variables_of(meta, signature):
        raise ModelFileError(
            f"{path}: The graph reads {len(names)} variable{'s' if len(names) > 1 else ''} ({', '.join(names[:4])}"
            f"{', …' if len(names) > 4 else ''}), but variables/variables.index is missing.",
            remedy="copy the whole folder, or export the model again.",
        )


def _specs(tensors: tuple[TensorInfo, ...], path: Path) -> tuple[TensorSpec, ...]:
    for tensor in tensors:
        if not tensor.name:
            raise UnsupportedModelError(
                f"{path}: {tensor.key!r} of the signature is not a dense tensor (it is sparse or ragged).",
                remedy="export a signature whose inputs and outputs are dense tensors.",
            )
    return tuple(TensorSpec(tensor.key, tensor.shape, tensor.dtype) for tensor in tensors)


def _flaws(path: Path, meta: MetaGraph) -> list[str]:
    folder = path / "variables"
    if not folder.is_dir() or not any(folder.iterdir()):  # a frozen graph has no variables
        return []
    return [
        f"the variable {variable_name(meta, entry.key)!r} holds {flaw}: outputs will be wrong; export it again."
        for entry in _checkpoint.read_entries(folder, str(path))
        if (flaw := _checkpoint.flaw(entry))
    ]


ADAPTER = SavedModel()

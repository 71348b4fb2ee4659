"""Opens Keras models with Keras itself, in a child process of the ``tensorflow`` group."""

from __future__ import annotations

import contextlib
import importlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deploykit.core.errors import ModelFileError, UnsafeModelError, UnsupportedModelError
from deploykit.core.model import Layer, TensorSpec
from deploykit.loading._contract import Summary
from deploykit.loading._keras import ends as _keras_ends
from deploykit.loading._keras.summary import PASSING

#: How Keras complains of what it does not know.
_UNKNOWN = re.compile(r"(?:Could not locate \w+|Unknown \w+:?) '(?P<name>[\w.>]+)'")


def open_keras(
    path: Path, *, suffix: str = ".keras", imports: tuple[str, ...] = (), trusted: bool = False, shown: str = ""
) -> Any:
    """Load a ``.keras`` or ``.h5`` file, uncompiled.

    Args:
        path: A file the gate has let pass, whatever its ending.
        suffix: The ending Keras expects of this kind of file.
        imports: Modules whose classes and functions the model may use, registered with Keras or not.
        trusted: Code inside the file may run (Lambda layers).
        shown: How to call the file in messages; its path when empty.

    Raises:
        UnsafeModelError: The file holds code of its own and is not trusted.
        UnsupportedModelError: A custom class is not known.
        ModelFileError: Keras cannot read the file.
    """
    import keras

    with _ending_in(path, suffix) as file:
        try:
            return keras.saving.load_model(
                file, custom_objects=custom_objects(imports), compile=False, safe_mode=not trusted
            )
        except MemoryError:
            raise
        except Exception as error:  # Keras raises whatever the layers raise
            raise _explain(shown or str(path), error) from error


@contextlib.contextmanager
def _ending_in(path: Path, suffix: str) -> Iterator[Path]:
    """The file under a name with the ending Keras insists on."""
    if path.suffix == suffix:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
        named = Path(folder) / f"model{suffix}"
        shutil.copyfile(path, named)
        yield named


def custom_objects(imports: tuple[str, ...]) -> dict[str, Any]:
    """Keras classes that the user's modules define, by name.

    Functions are known to Keras when they are registered (``keras.saving.register_keras_serializable``), and only
    then: a file that could name any function of a module could call it.
    """
    import keras

    kinds = (
        keras.Layer, keras.Operation, keras.Initializer, keras.Regularizer, keras.constraints.Constraint, keras.Loss,
        keras.Metric,
    )  # fmt: skip
    found: dict[str, Any] = {}
    for name in imports:
        module = importlib.import_module(name)
        for key, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, kinds) and value.__module__ == name:
                found |= {key: value}
    return found


def read_model(path: Path, *, suffix: str, imports: tuple[str, ...], trusted: bool) -> Summary:
    """The summary of a model, from Keras."""
    model = open_keras(path, suffix=suffix, imports=imports, trusted=trusted)
    inputs, outputs = _signature(model, str(path))
    layers = tuple(
        Layer(name, type(layer).__name__, _layer_shape(layer), _count(layer)) for name, layer in _leaves(model, "")
    )
    flaws = [f"the weights {w.path!r} hold {flaw}: outputs will be wrong." for w in model.weights if (flaw := _flaw(w))]
    stateful = tuple(name for name, layer in _leaves(model, "") if _is_stateful(layer))
    return Summary(inputs, outputs, layers, _count(model), tuple(flaws), stateful=stateful)


def _is_stateful(layer: Any) -> bool:
    return any(getattr(part, "stateful", False) is True for part in layer._flatten_layers())


def _signature(model: Any, shown: str) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    if (graph := graph_of(model)) is None:
        graph = called_once(model, shown)
    inputs, outputs = ends(graph)
    return tuple(spec_of(name, t) for name, t in inputs), tuple(spec_of(name, t, _operator(t)) for name, t in outputs)


def graph_of(model: Any) -> Any:
    """The functional model that a Keras model is or holds; None for a class of its own, which has no graph."""
    import keras

    inner = model._functional if isinstance(model, keras.Sequential) else model
    return inner if getattr(inner, "_inputs_struct", None) is not None else None


def called_once(model: Any, shown: str) -> Any:
    """A functional model around a model of a class of its own, which is called once on a symbolic input.

    Its outputs are called as the keys of the dictionary it gives, or ``output_0``, ``output_1``, …

    Raises:
        UnsupportedModelError: It was never called, or on several arrays, so its inputs are not known.
    """
    import keras

    shape = (model.get_build_config() or {}).get("input_shape")
    if not (isinstance(shape, list | tuple) and all(d is None or isinstance(d, int) for d in shape)):
        raise UnsupportedModelError(
            f"{shown}: The model is a {type(model).__name__}, a subclass of keras.Model whose inputs are unknown.",
            remedy="call it once on one array before saving it, or wrap it: keras.Model(inputs, model(inputs)).",
        )
    example = keras.Input(batch_shape=(None, *shape[1:]), dtype=model.input_dtype, name="input")
    given = model(example)
    if not isinstance(given, dict):
        given = {f"output_{i}": tensor for i, tensor in enumerate(keras.tree.flatten(given))}
    return keras.Model(example, given, name=model.name)


def ends(graph: Any, renamed: Mapping[str, str] | None = None) -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]]:
    """Inputs and outputs of a functional model by deploykit's names, in order.

    Args:
        graph: What `graph_of` gives.
        renamed: Name of a layer → the name it has in the file.
    """
    import keras

    known = renamed or {}

    def layer_of(tensor: Any) -> str:
        name = str(tensor._keras_history.operation.name)
        return known.get(name, name)

    def named(structure: Any) -> list[tuple[str, Any]]:
        return _keras_ends.named(structure, lambda item: isinstance(item, keras.KerasTensor), layer_of)

    return named(graph._inputs_struct), named(graph._outputs_struct)


def spec_of(name: str, tensor: Any, operator: str = "") -> TensorSpec:
    """The spec of a symbolic tensor."""
    import keras

    return TensorSpec(name, tuple(tensor.shape), str(keras.backend.standardize_dtype(tensor.dtype)), operator=operator)


def _operator(tensor: Any) -> str:
    """Class and activation of the layer that makes a tensor; `_keras_summary.operator` reads the same off a config."""
    import keras

    while True:
        history = getattr(tensor, "_keras_history", None)
        if history is None or isinstance(history.operation, keras.layers.InputLayer):
            return ""
        made = history.operation
        kind = type(made).__name__
        if isinstance(made, keras.Model):
            if not getattr(made, "outputs", None):  # a class of its own: what it does inside is not to be seen
                return ""
            tensor = made.outputs[history.tensor_index]
        elif kind in PASSING:
            tensor = made._inbound_nodes[history.node_index].input_tensors[0]
        else:
            name = getattr(getattr(made, "activation", None), "__name__", "")
            return f"{kind} {name}" if name else kind


def _leaves(model: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for layer in model.layers:
        if getattr(layer, "layers", None):
            yield from _leaves(layer, f"{prefix}{layer.name}/")
        else:
            yield prefix + layer.name, layer


def _layer_shape(layer: Any) -> tuple[int | None, ...] | None:
    try:
        return tuple(layer.output.shape)
    except (AttributeError, ValueError):  # several outputs, or never called symbolically
        return None


def _count(layer: Any) -> int:
    return int(layer.count_params()) if layer.built else 0


def _flaw(weight: Any) -> str:
    import numpy as np

    values = np.asarray(weight)
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return ""
    return "NaN" if np.isnan(values).any() else "infinite values"


def _explain(path: str, error: Exception) -> Exception:
    text = " ".join(str(error).split())
    short = text if len(text) < 400 else f"{text[:400]}…"
    if "safe_mode" in text or "unsafe" in text.lower():
        return UnsafeModelError(
            f"{path}: Keras refuses to load it because it contains code: {short}",
            remedy="if you trust its source, pass trusted=True in code.",
        )
    if found := _UNKNOWN.search(text):
        return UnsupportedModelError(
            f"{path}: it uses {found['name']!r}, which Keras does not know.",
            remedy='pass imports=["my_layers"] with the module that defines it; functions must be registered '
            "there with keras.saving.register_keras_serializable.",
        )
    return ModelFileError(f"{path}: Keras cannot read it: {short}", remedy="save the model again.")

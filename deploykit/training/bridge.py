"""Carries a Keras 3 model over to tf_keras and its weights back.

TensorFlow Model Optimization takes tf_keras models only. The bridge builds a tf_keras model that computes the same,
layer by layer; nested models are flattened, shared layers stay shared, and ``keras.ops`` nodes run Keras 3's own code
inside a layer. After training, the weights go back into the Keras 3 model, so that nothing else of it changes.
"""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from deploykit.converters._keras import is_mixed
from deploykit.core.contract import Contract
from deploykit.core.errors import CandidateError, UnsupportedModelError
from deploykit.core.extras import require
from deploykit.loading._keras.open import graph_of
from deploykit.training import bridge_layers
from deploykit.training.keras_ends import activation_name, arranged, final_operation

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Called with a Keras 3 layer, its tf_keras twin and the twin's outputs; gives the layer that takes the twin's place.
Wrap = Callable[[Any, Any, Any], Any]

#: Largest difference of the outputs before the last activation, relative to the largest of them.
TOLERANCE = 1e-4
#: The same where the Keras 3 model computes in half precision, which the copy does not.
_MIXED_TOLERANCE = 5e-2


@dataclass
class Pair:
    """A Keras 3 layer and the tf_keras layer that stands for it.

    Attributes:
        keras: The layer of the model.
        twin: The tf_keras layer that holds the weights.
        wrapped: What is called in the graph: the twin, or a wrapper around it.
        variables: The twin's weights, in the order of the layer's; wrappers may take them out of the twin.
    """

    keras: Any
    twin: Any
    wrapped: Any
    variables: list[Any] = field(default_factory=list)


@dataclass
class Bridge:
    """A Keras 3 model and its tf_keras counterpart.

    Attributes:
        source: The Keras 3 model.
        model: The tf_keras model; its inputs have the names and order of ``source``.
        pairs: The layers, in the order of the graph.
    """

    source: Any
    model: Any
    pairs: list[Pair] = field(default_factory=list)

    def copy_back(self) -> None:
        """Copy the weights of the tf_keras model into the Keras 3 model."""
        for pair in self.pairs:
            if pair.variables:
                pair.keras.set_weights([variable.numpy() for variable in pair.variables])

    def difference(self, feeds: Mapping[str, NDArray[Any]], contract: Contract | None = None) -> float:
        """Largest difference of the two models' outputs, relative to the largest output.

        Softmax and sigmoid outputs are compared before the activation: probabilities of a confident model hide
        differences that matter once weights move.

        Args:
            feeds: Examples by input name.
            contract: How they are fed.
        """
        np, keras = require("numpy", ""), require("keras", "tensorflow")
        arrays = arranged(self.source, feeds, contract)
        with self._linear_outputs():
            structure = graph_of(self.source)._inputs_struct
            ours = keras.tree.flatten(self.source(keras.tree.pack_sequence_as(structure, arrays), training=False))
            theirs = self.model(arrays if len(arrays) > 1 else arrays[0], training=False)
        theirs = theirs if isinstance(theirs, list | tuple) else [theirs]
        worst = 0.0
        for a, b in zip(ours, theirs, strict=True):
            a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
            if a.shape != b.shape:
                return float("inf")
            worst = max(worst, float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-6)))
        return worst

    def check(self, feeds: Mapping[str, NDArray[Any]], contract: Contract | None = None) -> None:
        """Raise `CandidateError` when the two models differ on the examples."""
        difference = self.difference(feeds, contract)
        allowed = _MIXED_TOLERANCE if any(is_mixed(pair.keras) for pair in self.pairs) else TOLERANCE
        if not difference <= allowed:
            raise CandidateError(
                f"The tf_keras copy of {self.source.name!r} differs by {difference:.1e} of the largest output "
                f"(allowed: {allowed:.0e}).",
                remedy="leave out the techniques that need TensorFlow Model Optimization; please report the layers.",
            )

    @contextlib.contextmanager
    def _linear_outputs(self) -> Iterator[None]:
        keras, tf_keras = require("keras", "tensorflow"), require("tf_keras", "tensorflow")
        last = {id(final_operation(t)) for t in self.source.outputs}
        changed = []
        for pair in self.pairs:
            if id(pair.keras) in last and activation_name(pair.keras) in ("softmax", "sigmoid"):
                changed.append((pair, pair.keras.activation, pair.twin.activation))
                pair.keras.activation = keras.activations.linear
                pair.twin.activation = tf_keras.activations.linear
        try:
            yield
        finally:
            for pair, ours, theirs in changed:
                pair.keras.activation, pair.twin.activation = ours, theirs


def to_tf_keras(model: Any, wrap: Wrap | None = None) -> Bridge:
    """Build the tf_keras counterpart of a Keras 3 model.

    Args:
        model: A functional or Sequential Keras 3 model.
        wrap: Replaces layers on the way, for example by a pruning wrapper; None leaves them.

    Raises:
        UnsupportedModelError: A layer has no counterpart (names it and its class), or the model is not a graph of
            layers.
    """
    tf_keras = require("tf_keras", "tensorflow")
    builder = _Builder(wrap)
    inputs = [
        tf_keras.Input(batch_shape=tuple(t.shape), dtype=t.dtype, name=builder.fresh(t.name))
        for t in getattr(model, "inputs", None) or ()
    ]
    outputs = builder.graph(model, inputs, "")
    ends = (inputs if len(inputs) > 1 else inputs[0], outputs if len(outputs) > 1 else outputs[0])
    built = tf_keras.Model(*ends, name="model")  # a name that depends on the process would be in files made of it
    pairs = list(builder.pairs.values())
    for pair in pairs:
        _copy_weights(pair)
    return Bridge(model, built, pairs)


def _copy_weights(pair: Pair) -> None:
    ours = pair.keras.get_weights()
    theirs = [tuple(w.shape) for w in pair.variables]
    if not theirs:  # no weights, or they are settings of the twin (Normalization)
        return
    if [w.shape for w in ours] != theirs:
        raise UnsupportedModelError(
            f"Layer {pair.keras.name!r} ({type(pair.keras).__name__}) has weights of different shapes in tf_keras: "
            f"{[w.shape for w in ours]} and {theirs}.",
            remedy="leave out the techniques that need TensorFlow Model Optimization for this model.",
        )
    for variable, values in zip(pair.variables, ours, strict=True):
        variable.assign(values)


class _Builder:
    """Walks the Keras 3 graph and calls the twins in its order."""

    def __init__(self, wrap: Wrap | None) -> None:
        self.pairs: dict[int, Pair] = {}
        self._wrap = wrap
        self._names: set[str] = set()

    def fresh(self, name: str) -> str:
        """A layer name tf_keras accepts and that is not taken: nested models repeat names."""
        base = re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip("_.-") or "layer"
        found, count = base, 1
        while found in self._names:
            count += 1
            found = f"{base}_{count}"
        self._names.add(found)
        return found

    def graph(self, model: Any, inputs: list[Any], prefix: str) -> list[Any]:
        """Call the twins of a model's layers on tf_keras tensors."""
        keras = require("keras", "tensorflow")
        if isinstance(model, keras.Sequential) and model.built:
            model = keras.Model(model.inputs, model.outputs)
        if not hasattr(model, "_run_through_graph") or not getattr(model, "inputs", None):
            raise UnsupportedModelError(
                f"{type(model).__module__}.{type(model).__name__} ({model.name!r}) is not a functional or Sequential "
                "model: its layers cannot be inspected.",
                remedy="rebuild it with the functional API, or leave out the techniques that train.",
            )
        found = model._run_through_graph(inputs, operation_fn=lambda op: partial(self._call, op, prefix))
        return list(keras.tree.flatten(found))

    def _call(self, operation: Any, prefix: str, *args: Any, **kwargs: Any) -> Any:
        keras = require("keras", "tensorflow")
        if isinstance(operation, keras.Model):
            given = keras.tree.flatten(args[0] if args else kwargs["inputs"])
            return self.graph(operation, given, f"{prefix}{operation.name}_")
        if not isinstance(operation, keras.layers.Layer):
            return _run_operation(operation, self.fresh(f"{prefix}{operation.name}"), args, kwargs)
        if pair := self.pairs.get(id(operation)):
            return pair.wrapped(*args, **_accepted(pair.twin, operation, kwargs))
        layer = bridge_layers.twin(operation, self.fresh(f"{prefix}{operation.name}"))
        kwargs = _accepted(layer, operation, kwargs)
        outputs = _called(layer, operation, args, kwargs)
        pair = self.pairs[id(operation)] = Pair(operation, layer, layer, list(layer.weights))
        if self._wrap is None:
            return outputs
        pair.wrapped = self._wrap(operation, layer, outputs)
        if pair.wrapped is layer:
            return outputs
        return pair.wrapped(args[0], **kwargs, **_by_name(layer, args))


def _called(layer: Any, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return layer(*args, **kwargs)
    except (TypeError, ValueError) as error:
        raise UnsupportedModelError(
            f"Layer {operation.name!r} ({type(operation).__name__}) cannot be called in tf_keras: "
            f"{' '.join(str(error).split())[:300]}",
            remedy="leave out the techniques that need TensorFlow Model Optimization for this model.",
        ) from error


def _accepted(layer: Any, operation: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments the twin is called with.

    Masks Keras 3 passes by name travel with the tensors in tf_keras where the twin has no such argument; Keras 3 writes
    the default of ``training`` down, which would switch augmentation on for good.
    """
    known = inspect.signature(layer.call).parameters
    default = inspect.signature(operation.call).parameters.get("training")
    kept = {k: v for k, v in kwargs.items() if v is not None and (k in known or not k.endswith("mask"))}
    if "training" in kept and default is not None and kept["training"] is default.default:
        del kept["training"]
    return kept


def _by_name(layer: Any, args: tuple[Any, ...]) -> dict[str, Any]:
    """Further positional arguments by name: wrappers take one positional argument."""
    names = [n for n in inspect.signature(layer.call).parameters if n != "self"]
    return dict(zip(names[1:], args[1:], strict=False))


def _run_operation(operation: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A ``keras.ops`` node: Keras 3's own code, run inside a tf_keras layer on TensorFlow's tensors."""
    keras, tf_keras = require("keras", "tensorflow"), require("tf_keras", "tensorflow")
    structure = (args, kwargs)
    flat = keras.tree.flatten(structure)
    places = [i for i, value in enumerate(flat) if _is_symbolic(value)]

    def call(tensors: Any) -> Any:
        tensors = tensors if isinstance(tensors, list | tuple) else [tensors]
        filled = list(flat)
        for place, tensor in zip(places, tensors, strict=True):
            filled[place] = tensor
        given, named = keras.tree.pack_sequence_as(structure, filled)
        return operation.call(*given, **named)

    layer = tf_keras.layers.Lambda(call, name=name, autocast=False)
    tensors = [flat[i] for i in places]
    return layer(tensors if len(tensors) > 1 else tensors[0])


def _is_symbolic(value: Any) -> bool:
    tf_keras = require("tf_keras", "tensorflow")
    try:
        return bool(tf_keras.backend.is_keras_tensor(value))
    except ValueError:  # no tensor at all
        return False

"""The original Keras model, run by Keras itself: its conversions are compared with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.loading._keras.open import called_once, ends, graph_of, open_keras, spec_of
from deploykit.runtimes._session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HALF = ("float16", "bfloat16")


class KerasSession(Session):
    """An opened Keras 3 model, under the names and in the order that its summary tells.

    Attributes:
        half: Whether a layer computes in half precision.
        graph: The functional model that it is or holds.
    """

    def __init__(self, model: Any, shown: str) -> None:
        import keras

        graph = graph_of(model)
        if graph is None:
            model = graph = called_once(model, shown)
        inputs, outputs = ends(graph)
        self._model = model
        self._answer: Callable[[Any], Any] = partial(model, training=False)
        self.graph = graph
        self._tree = keras.tree
        self._numpy = keras.ops.convert_to_numpy
        self._structure = graph._inputs_struct
        self._taken = _places(keras.tree.flatten(graph._inputs_struct), inputs)
        self._given = _places(keras.tree.flatten(graph._outputs_struct), outputs)
        self.inputs = tuple(spec_of(name, tensor) for name, tensor in inputs)
        self.outputs = tuple(spec_of(name, tensor) for name, tensor in outputs)
        layers = list(model._flatten_layers())  # also those inside of wrappers, such as Bidirectional
        for layer in layers:
            if getattr(layer, "stateful", False) is True:
                layer.stateful = False  # every call begins with fresh state, as when it is served
        self.half = any(str(getattr(layer, "compute_dtype", "")) in _HALF for layer in layers)

    def _run(self, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        fed = self._tree.pack_sequence_as(self._structure, self.flat(arrays))
        found = self._tree.flatten(self._answer(fed))
        return [self._array(found[place]) for place in self._given]

    def hasten(self) -> None:
        """Trace the model: its layers are no longer called one by one."""
        import tensorflow as tf

        self._answer = tf.function(self._answer, reduce_retracing=True)

    def flat(self, arrays: Sequence[NDArray[Any]]) -> list[Any]:
        """Tensors in the order in which Keras counts the model's inputs."""
        import tensorflow as tf

        flat: list[Any] = [None] * len(arrays)
        for place, array in zip(self._taken, arrays, strict=True):
            flat[place] = tf.constant(array)
        return flat

    def _array(self, value: Any) -> NDArray[Any]:
        array: NDArray[Any] = value.numpy() if value.dtype == "string" else self._numpy(value)
        return array


def open_given(path: Path, *, suffix: str, imports: tuple[str, ...], trusted: bool) -> KerasSession:
    """Open a ``.keras`` or ``.h5`` file to be run by Keras."""
    return KerasSession(open_keras(path, suffix=suffix, imports=imports, trusted=trusted), str(path))


def _places(flat: Sequence[Any], named: Sequence[tuple[str, Any]]) -> list[int]:
    """Where each named tensor is among the flat ones; the same tensor can be there twice."""
    taken: set[int] = set()
    found = []
    for _, tensor in named:
        place = next(i for i, other in enumerate(flat) if other is tensor and i not in taken)
        taken.add(place)
        found.append(place)
    return found

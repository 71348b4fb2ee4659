"""What layers of a Keras model give while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.data.dataset import Dataset
from deploykit.loading._keras.open import graph_of
from deploykit.surgery.channels.keras_graph import is_nested, named
from deploykit.training.keras_ends import arranged

if TYPE_CHECKING:
    from numpy.typing import NDArray


def layers(model: Any) -> dict[str, Any]:
    """The layers and operations that give one tensor, by name; in nested models the path."""
    keras = require("keras", "tensorflow")
    return {
        name: op
        for name, op in named(model).items()
        if not isinstance(op, keras.layers.InputLayer) and not is_nested(op) and _gives_one(op)
    }


def _gives_one(op: Any) -> bool:
    return bool(op._inbound_nodes) and len(op._inbound_nodes[0].output_tensors) == 1


@contextlib.contextmanager
def watched(operations: Mapping[str, Any], *, taken: bool = False) -> Iterator[dict[str, Any]]:
    """Keep what some layers give in calls inside of the context, by name; of several calls the last.

    Args:
        operations: Layers by name.
        taken: Keep what they take, their first argument, instead of what they give.
    """
    seen: dict[str, Any] = {}

    def watch(name: str, op: Any) -> None:
        call = op.call

        def watching(*args: Any, **kwargs: Any) -> Any:
            given = call(*args, **kwargs)
            seen[name] = args[0] if taken else given
            return given

        vars(op)["call"] = watching

    for name, op in operations.items():
        watch(name, op)
    try:
        yield seen
    finally:
        for op in operations.values():
            vars(op).pop("call", None)


class KerasLayers:
    """A Keras model that is asked for what some of its layers give.

    Args:
        model: The model.
        names: The layers.
        data: The data, with the contract if there is one.
    """

    def __init__(self, model: Any, names: Sequence[str], data: Dataset) -> None:
        found = layers(model)
        self._model, self._data = model, data
        self._layers = {name: found[name] for name in names}

    def predict(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """What the layers give for some examples."""
        keras = require("keras", "tensorflow")
        inputs = arranged(self._model, feeds, self._data.contract)
        with watched(self._layers) as seen:
            self._model(keras.tree.pack_sequence_as(graph_of(self._model)._inputs_struct, inputs), training=False)
        return {name: keras.ops.convert_to_numpy(seen[name]) for name in self._layers}

    def close(self) -> None:
        """Nothing is kept open."""

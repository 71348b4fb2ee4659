"""Inputs and outputs of a Keras 3 model as training needs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deploykit.converters._keras import exportable
from deploykit.core.contract import Contract
from deploykit.core.extras import require
from deploykit.core.model import TensorSpec
from deploykit.data.feeding import Feeding

if TYPE_CHECKING:
    from numpy.typing import NDArray


def final_operation(tensor: Any) -> Any:
    """The layer or operation that makes an output, inside nested models too."""
    keras = require("keras", "tensorflow")
    operation, _, index = tensor._keras_history
    while isinstance(operation, keras.Model):
        operation, _, index = operation.outputs[index]._keras_history
    return operation


def activation_name(operation: Any) -> str:
    """Name of the activation a layer or operation ends in, "" when it has none."""
    if type(operation).__name__ in ("Softmax", "Sigmoid"):
        return type(operation).__name__.lower()
    return str(getattr(getattr(operation, "activation", None), "__name__", ""))


def arranged(model: Any, feeds: Mapping[str, NDArray[Any]], contract: Contract | None = None) -> list[NDArray[Any]]:
    """Examples in the order in which Keras counts the model's inputs, and in their dtype."""
    return feeding(model, contract).arrange(feeds)


def feeding(model: Any, contract: Contract | None = None) -> Feeding:
    """Where the data of a contract go in a model."""
    places = exportable(model).inputs
    names = sorted(places, key=places.__getitem__)
    specs = [TensorSpec(n, tuple(t.shape), str(t.dtype)) for n, t in zip(names, model.inputs, strict=True)]
    return Feeding.of(contract, specs)

"""Says which layers of a Keras model need a lookup table when a format has none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require


@contextlib.contextmanager
def explained(model: Any, target: str) -> Iterator[None]:
    """Say of a conversion that fails that the model has lookup tables, where it has some.

    Args:
        model: The Keras model that is converted.
        target: What the format is called.

    Raises:
        UnsupportedModelError: The conversion failed.
    """
    try:
        yield
    except UnsupportedModelError as error:
        if not (found := _layers(model)):
            raise
        raise UnsupportedModelError(
            f"{target} has no lookup tables, which the model's {found} need: {error.message}",
            remedy="use TensorFlow for this model, or look up words and categories before calling the model and save "
            "the part after these layers.",
        ) from error


def _layers(model: Any) -> str:
    layers = require("keras", "tensorflow").layers
    kinds = (layers.StringLookup, layers.IntegerLookup, layers.TextVectorization, layers.Hashing)
    found = [layer for layer in model._flatten_layers() if isinstance(layer, kinds)]
    outer = [f"{layer.name!r} ({type(layer).__name__})" for layer in found]
    return f"layer{'s' if len(outer) > 1 else ''} {', '.join(outer[:8])}" if outer else ""

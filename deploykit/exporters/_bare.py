"""What a server that runs the bare model file is sent, and what its answers are: preprocessing is done here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Manifest
from deploykit.core.errors import ServeError
from deploykit.data.preprocess import prepared

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]


def feeds(manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
    """Arrays by the file's own names for raw examples by the contract's, with constants and fresh state.

    Args:
        manifest: Of the artifact.
        inputs: Raw examples by input name, batch first.

    Raises:
        ServeError: The examples are sequences.
    """
    import numpy as np

    if manifest.contract.sequences:
        raise ServeError(
            "It runs single steps; the golden data are sequences of steps.", remedy="check deploykit's own server."
        )
    count = len(next(iter(inputs.values())))
    ready, found = prepared(inputs, manifest.preprocess), {}
    for meaning in manifest.contract.inputs:
        name, there = meaning.name, manifest.input_names.get(meaning.name, meaning.name)
        if name in ready:
            found[there] = np.moveaxis(ready[name], 0, meaning.batch_axis)
            continue
        dtype: Any = object if meaning.dtype == "string" else meaning.dtype
        value = np.asarray(manifest.contract.constants.get(name, 0), dtype)
        if meaning.is_carried and meaning.shape is not None:
            dims = [count if axis == meaning.batch_axis else d or 1 for axis, d in enumerate(meaning.shape)]
            value = np.broadcast_to(value, dims)
        found[there] = value
    return found


def names(manifest: Manifest) -> list[str]:
    """The file's names of the contract's outputs, in the contract's order."""
    return [manifest.output_names.get(o.name, o.name) for o in manifest.contract.outputs]


def answers(manifest: Manifest, found: Mapping[str, NDArray[Any]], count: int) -> Arrays:
    """Outputs by the contract's names, batch first, for what the file gave for so many examples."""
    import numpy as np

    return {
        o.name: np.repeat(found[there][None], count, axis=0) if o.fixed else np.moveaxis(found[there], o.batch_axis, 0)
        for o, there in zip(manifest.contract.outputs, names(manifest), strict=True)
        if there in found
    }

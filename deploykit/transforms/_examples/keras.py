"""Calibration inputs as work on Keras models takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.converters import _keras
from deploykit.loading._keras.open import ends, graph_of, spec_of
from deploykit.surgery.channels.keras_graph import Flat
from deploykit.surgery.reconstruction.walk import Examples
from deploykit.transforms._contract import TransformJob
from deploykit.transforms._examples.inputs import gathered

if TYPE_CHECKING:
    from numpy.typing import NDArray


def keras_examples(model: Any, flat: Flat, job: TransformJob) -> Examples:
    """The calibration inputs of a job for a Keras model, all at once, by names of ``flat.inputs``."""
    named = [spec_of(name, tensor) for name, tensor in ends(graph_of(model))[0]]
    made = _keras.exportable(model)

    def run(batch: dict[str, NDArray[Any]]) -> dict[str, Any]:
        """The model, which carries state along sequences."""
        return _keras.called(made, batch)

    return gathered(job, named, run, lambda name: flat.inputs[made.inputs[name]])

"""Calibration inputs as work on Keras models takes them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from deploykit.converters import _keras
from deploykit.loading._keras.open import ends, graph_of, spec_of
from deploykit.surgery.channels.keras_graph import Flat
from deploykit.surgery.quantization import calibration
from deploykit.surgery.reconstruction.walk import MOST, Examples
from deploykit.transforms._contract import TransformJob

if TYPE_CHECKING:
    from numpy.typing import NDArray


def keras_examples(model: Any, flat: Flat, job: TransformJob) -> Examples:
    """The calibration inputs of a job for a Keras model, all at once, by names of ``flat.inputs``."""
    import numpy as np

    named = [spec_of(name, tensor) for name, tensor in ends(graph_of(model))[0]]
    fixed = next((spec.batch_size for spec in named if spec.batch_size), 0)
    made = _keras.exportable(model)

    def run(batch: dict[str, NDArray[Any]]) -> dict[str, Any]:
        """The model, which carries state along sequences."""
        return _keras.called(made, batch)

    batches = list(calibration.batches(job.examples, named, run, notes=job.notes))
    step = math.ceil(len(batches) * (fixed or 1) / MOST)
    places = {name: flat.inputs[place] for name, place in made.inputs.items()}
    chosen = batches[::step]
    del batches
    feeds = {places[name]: np.concatenate([batch.pop(name) for batch in chosen]) for name in list(chosen[0])}
    return Examples(feeds, batch=fixed, seed=job.seed, report=job.report)

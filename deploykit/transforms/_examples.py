"""Calibration inputs as work on graphs takes them, whatever the format."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.model import TensorSpec
from deploykit.surgery.quantization import calibration
from deploykit.surgery.reconstruction.walk import MOST, Examples
from deploykit.transforms._contract import TransformJob

if TYPE_CHECKING:
    from numpy.typing import NDArray


def gathered(
    job: TransformJob, inputs: Sequence[TensorSpec], run: calibration.Run, called: Callable[[str], str] = str
) -> Examples:
    """The calibration inputs of a job, all at once.

    Args:
        job: Has the data.
        inputs: What the model takes.
        run: The model, which carries state along sequences.
        called: What the work calls an input.
    """
    import numpy as np

    fixed = next((spec.batch_size for spec in inputs if spec.batch_size), 0)
    batches = list(calibration.batches(job.examples, inputs, run, notes=job.notes))
    size = fixed or 1
    step = math.ceil(len(batches) * size / MOST)
    places: NDArray[Any] = np.arange(len(batches) * size).reshape(-1, size)[::step].reshape(-1)
    chosen = batches[::step]
    del batches
    feeds = {called(name): np.concatenate([batch.pop(name) for batch in chosen]) for name in list(chosen[0])}
    contract = job.examples.contract
    index = None if contract is not None and contract.sequences else places
    return Examples(feeds, batch=fixed, seed=job.seed, report=job.report, index=index)

"""Calibration inputs as work on graphs takes them, whatever the format."""

from __future__ import annotations

import math
import sys
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
    contract = job.examples.contract
    stepped = contract is not None and bool(contract.sequences)
    whole = not fixed and not stepped  # one batch that is not copied: examples can take most of the memory
    batches = list(calibration.Batches(job.examples, inputs, run, sys.maxsize if whole else 0, notes=job.notes))
    size = fixed or 1
    count = len(next(iter(batches[0].values()))) if whole else len(batches) * size
    step = math.ceil(count / MOST)
    places: NDArray[Any] = np.arange(count).reshape(-1, size)[::step].reshape(-1)
    if whole:
        feeds = {called(name): np.ascontiguousarray(values[::step]) for name, values in batches[0].items()}
    else:
        chosen = batches[::step]
        del batches
        feeds = {called(name): np.concatenate([batch.pop(name) for batch in chosen]) for name in list(chosen[0])}
    index = None if stepped else places
    return Examples(feeds, batch=fixed, seed=job.seed, report=job.report, index=index)

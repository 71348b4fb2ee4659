"""Calibration inputs as work on ONNX graphs takes them."""

from __future__ import annotations

import math
from typing import Any

from deploykit.loading.onnx import signature
from deploykit.surgery.onnx_session import runner
from deploykit.surgery.quantization import calibration
from deploykit.surgery.reconstruction.walk import MOST, Examples
from deploykit.transforms._contract import TransformJob


def examples_of(model: Any, job: TransformJob) -> Examples:
    """The calibration inputs of a job for a ``ModelProto``, all at once."""
    import numpy as np

    inputs, _ = signature(model, job.source)
    fixed = next((spec.batch_size for spec in inputs if spec.batch_size), 0)
    batches = list(calibration.batches(job.examples, inputs, runner(model), notes=job.notes))
    step = math.ceil(len(batches) * (fixed or 1) / MOST)
    chosen = batches[::step]
    del batches
    feeds = {name: np.concatenate([batch.pop(name) for batch in chosen]) for name in list(chosen[0])}
    return Examples(feeds, batch=fixed, seed=job.seed, report=job.report)

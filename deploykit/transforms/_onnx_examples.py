"""Calibration inputs as work on ONNX graphs takes them."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.loading.onnx import signature
from deploykit.surgery.quantization import calibration, prepare
from deploykit.surgery.reconstruction.walk import MOST, Examples
from deploykit.transforms._contract import TransformJob

if TYPE_CHECKING:
    from numpy.typing import NDArray


def examples_of(model: Any, job: TransformJob) -> Examples:
    """The calibration inputs of a job for a ``ModelProto``, all at once."""
    import numpy as np

    inputs, _ = signature(model, job.source)
    fixed = next((spec.batch_size for spec in inputs if spec.batch_size), 0)
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
        runner: dict[str, Any] = {}

        def run(batch: dict[str, NDArray[Any]]) -> dict[str, Any]:
            """The model, which carries state along sequences."""
            if not runner:
                require("onnx", "").save(model, str(Path(folder) / "model.onnx"))
                runner["session"] = prepare.session(Path(folder) / "model.onnx")
            names = [output.name for output in runner["session"].get_outputs()]
            return dict(zip(names, runner["session"].run(names, batch), strict=True))

        batches = list(calibration.batches(job.examples, inputs, run, notes=job.notes))
    step = math.ceil(len(batches) * (fixed or 1) / MOST)
    chosen = batches[::step]
    del batches
    feeds = {name: np.concatenate([batch.pop(name) for batch in chosen]) for name in list(chosen[0])}
    return Examples(feeds, batch=fixed, seed=job.seed, report=job.report)

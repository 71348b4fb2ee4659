"""Rounding the weights of a written ONNX file again, beside the graph in float."""

from __future__ import annotations

from typing import Any

from deploykit.core.extras import require
from deploykit.transforms._contract import TransformJob


def learn(job: TransformJob, reference: Any) -> None:
    """Round the weights of the file that a job has written, so that what its layers give stays nearest.

    Args:
        job: Has the calibration data and the file; notes get what is left of the error.
        reference: The ``ModelProto`` that was quantized.
    """
    from deploykit.loading.onnx import signature
    from deploykit.surgery.correction import onnx_rounding
    from deploykit.surgery.onnx_session import runner
    from deploykit.surgery.quantization import calibration, prepare

    onnx = require("onnx", "")
    model = onnx.load(str(job.target))
    inputs, _ = signature(reference, job.source)
    batches = calibration.Batches(job.examples, inputs, runner(reference), calibration.BATCH, job.notes)
    job.notes |= onnx_rounding.learn(reference, model, batches, job.report).notes()
    onnx.save(model, str(job.target))
    prepare.check_opens(job.target)

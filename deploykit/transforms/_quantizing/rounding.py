"""Rounding the weights of a written ONNX file again, beside the graph in float."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.transforms._contract import TransformJob

if TYPE_CHECKING:
    from deploykit.surgery.quantization import calibration


def learn(job: TransformJob, reference: Any) -> None:
    """Round the weights of the file that a job has written, so that what its layers give stays nearest.

    Args:
        job: Has the calibration data and the file; notes get what is left of the error.
        reference: The ``ModelProto`` that was quantized.
    """
    from deploykit.surgery.correction import onnx_rounding
    from deploykit.surgery.quantization import prepare

    onnx = require("onnx", "")
    model = onnx.load(str(job.target))
    found = onnx_rounding.learn(reference, model, batches_of(job, reference), job.report).notes()
    job.notes |= found | {"rounding": {**job.notes.get("rounding", {}), **found["rounding"]}}
    onnx.save(model, str(job.target))
    prepare.check_opens(job.target)


def batches_of(job: TransformJob, model: Any) -> calibration.Batches:
    """The calibration examples of a job for a ``ModelProto``, batch by batch."""
    from deploykit.loading.onnx import signature
    from deploykit.surgery.onnx_session import runner
    from deploykit.surgery.quantization import calibration

    inputs, _ = signature(model, job.source)
    return calibration.Batches(job.examples, inputs, runner(model), calibration.BATCH, job.notes)

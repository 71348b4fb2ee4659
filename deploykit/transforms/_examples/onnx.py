"""Calibration inputs as work on ONNX graphs takes them."""

from __future__ import annotations

from typing import Any

from deploykit.loading.onnx import signature
from deploykit.surgery.onnx_session import runner
from deploykit.surgery.reconstruction.walk import Examples
from deploykit.transforms._contract import TransformJob
from deploykit.transforms._examples.inputs import gathered


def examples_of(model: Any, job: TransformJob) -> Examples:
    """The calibration inputs of a job for a ``ModelProto``, all at once."""
    return gathered(job, signature(model, job.source)[0], runner(model))

"""Frozen graph to ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploykit.converters import _onnx
from deploykit.converters._contract import Converter, Job
from deploykit.converters._frozen_pb import opened


class FrozenPbToOnnx(Converter):
    """Converts the graph between its inputs and outputs with tf2onnx."""

    name = "frozen_pb_to_onnx"
    label = "Frozen graph to ONNX"
    help = "Converts the graph to a float32 ONNX file and keeps input and output names."
    extra = "tensorflow"
    requires = ("tensorflow", "tf2onnx", "onnx")
    group = "tensorflow"
    accepts = "frozen_pb"
    produces = "onnx"

    def _convert(self, job: Job) -> None:
        session, names = opened(job)

        def call(fed: Mapping[str, Any]) -> list[Any]:
            return list(session.function(*fed.values()))

        known = {spec.name: spec for spec in session.arguments(names.inputs.values())}
        written = _onnx.write_function(call, known, job.target, names)
        job.named(written.inputs, written.outputs)


ADAPTER = FrozenPbToOnnx()

"""SavedModel to ONNX."""

from __future__ import annotations

from deploykit.converters import _onnx
from deploykit.converters._contract import Converter, Job


class SavedModelToOnnx(Converter):
    """Converts the serving signature with tf2onnx."""

    name = "saved_model_to_onnx"
    label = "SavedModel to ONNX"
    help = "Converts the serving signature to a float32 ONNX file and keeps input and output names."
    extra = "tensorflow"
    requires = ("tensorflow", "tf2onnx", "onnx")
    group = "tensorflow"
    accepts = "saved_model"
    produces = "onnx"

    def _convert(self, job: Job) -> None:
        written = _onnx.write(job.source, job.target)
        job.named(written.inputs, written.outputs)


ADAPTER = SavedModelToOnnx()

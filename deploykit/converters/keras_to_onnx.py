"""Keras 3 to ONNX."""

from __future__ import annotations

from deploykit.converters import _keras, _lookups, _onnx
from deploykit.converters._contract import Converter, Job


class KerasToOnnx(Converter):
    """Goes through a SavedModel, which keeps the names that ``model.export(format="onnx")`` drops."""

    name = "keras_to_onnx"
    label = "Keras to ONNX"
    help = "Converts to a float32 ONNX file and keeps input and output names."
    extra = "tensorflow"
    requires = ("tensorflow", "keras", "tf2onnx", "onnx")
    group = "tensorflow"
    accepts = "keras"
    produces = "onnx"

    def _convert(self, job: Job) -> None:
        made = _keras.load_exportable(job)
        with _keras.as_saved_model(made) as (folder, names), _lookups.explained(made.model, "ONNX"):
            written = _onnx.write(folder, job.target, names)
        job.named(written.inputs, written.outputs)


ADAPTER = KerasToOnnx()

"""SavedModel to TFLite."""

from __future__ import annotations

from deploykit.converters import _tflite
from deploykit.converters._contract import Converter, Job


class SavedModelToTFLite(Converter):
    """Converts the serving signature."""

    name = "saved_model_to_tflite"
    label = "SavedModel to TFLite"
    help = "Converts the serving signature to a float32 TFLite file with built-in operators only."
    extra = "tensorflow"
    requires = ("tensorflow",)
    group = "tensorflow"
    accepts = "saved_model"
    produces = "tflite"

    def _convert(self, job: Job) -> None:
        names = _tflite.write(job.source, job.target, job.notes)
        job.named(names.inputs, names.outputs)


ADAPTER = SavedModelToTFLite()

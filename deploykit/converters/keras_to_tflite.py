"""Keras 3 to TFLite."""

from __future__ import annotations

from deploykit.converters import _keras, _lookups, _tflite
from deploykit.converters._contract import Converter, Job


class KerasToTFLite(Converter):
    """Goes through a SavedModel, which keeps names and works for every Keras 3 model that can be traced."""

    name = "keras_to_tflite"
    label = "Keras to TFLite"
    help = "Converts to a float32 TFLite file with built-in operators only."
    extra = "tensorflow"
    requires = ("tensorflow", "keras")
    group = "tensorflow"
    accepts = "keras"
    produces = "tflite"

    def _convert(self, job: Job) -> None:
        made = _keras.load_exportable(job)
        with _keras.as_saved_model(made) as (folder, names), _lookups.explained(made.model, "TFLite"):
            _tflite.write(folder, job.target, job.notes, names=names)
        job.named(names.inputs, names.outputs)


ADAPTER = KerasToTFLite()

"""Keras 3 to SavedModel."""

from __future__ import annotations

from deploykit.converters import _keras
from deploykit.converters._contract import Converter, Job


class KerasToSavedModel(Converter):
    """Writes a SavedModel whose serving signature keeps the model's input and output names."""

    name = "keras_to_saved_model"
    label = "Keras to SavedModel"
    help = (
        "Traces the model into a SavedModel with a serving signature; layer names that TensorFlow rejects are changed."
    )
    extra = "tensorflow"
    requires = ("tensorflow", "keras")
    group = "tensorflow"
    accepts = "keras"
    produces = "saved_model"

    def _convert(self, job: Job) -> None:
        names = _keras.export_saved_model(_keras.load_exportable(job), job.target)
        job.named(names.inputs, names.outputs)


ADAPTER = KerasToSavedModel()

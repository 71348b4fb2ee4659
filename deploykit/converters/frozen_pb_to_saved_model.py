"""Frozen graph to SavedModel, and so to TFLite."""

from __future__ import annotations

from typing import Any

from deploykit.converters._contract import Converter, Job
from deploykit.converters._frozen_pb import opened
from deploykit.core.extras import require


class FrozenPbToSavedModel(Converter):
    """Gives the graph a serving signature; operators and constants stay as they are."""

    name = "frozen_pb_to_saved_model"
    label = "Frozen graph to SavedModel"
    help = "Gives the graph a serving signature; operators and constants stay as they are."
    extra = "tensorflow"
    requires = ("tensorflow",)
    group = "tensorflow"
    accepts = "frozen_pb"
    produces = "saved_model"

    def _convert(self, job: Job) -> None:
        tf = require("tensorflow", self.extra)
        session, names = opened(job)

        def serve(*given: Any) -> dict[str, Any]:
            found = session.function(*given)
            return {name: tf.identity(tensor) for name, tensor in zip(names.outputs, found, strict=True)}

        module = tf.Module()
        module.serve = tf.function(serve, input_signature=session.arguments(names.inputs.values()), autograph=False)
        tf.saved_model.save(module, str(job.target), signatures=module.serve.get_concrete_function())
        job.named(names.inputs, names.outputs)


ADAPTER = FrozenPbToSavedModel()

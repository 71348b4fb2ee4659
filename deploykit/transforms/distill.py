"""Distillation: the model is trained to answer as the original model does, with or without labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.parameter import Parameter
from deploykit.training.schedule import Schedule
from deploykit.training.targets import Goal, Mixed
from deploykit.training.teacher import Answers
from deploykit.transforms._contract import TRAIN, Need, Transform, TransformJob
from deploykit.transforms._training import PARAMETERS, USES, LabelsOf, TrainedKeras, TrainedOnnx, Training

_USES = (*USES, "temperature", "alpha")


class _ByTeacher(Training):
    as_used = True

    def needs_for(self, parameters: dict[str, Any]) -> frozenset[Need]:
        """Labels only where they count."""
        return super().needs_for(parameters) - ({"labels"} if not parameters["alpha"] else set())

    def _goals(self, job: TransformJob, schedule: Schedule, labels: LabelsOf) -> Mapping[str, Goal]:
        found = Answers(job.original, job.examples, schedule).goals(job["temperature"])
        if not found:
            raise UnsupportedModelError(
                "The original model gives no real numbers that another model could be trained to give.",
                remedy="use finetune, which needs labels.",
            )
        if job["alpha"]:
            name = job.scored if job.scored in found else next(iter(found))
            found[name] = Mixed(labels(), found[name], job["alpha"])
        return found


class _Onnx(_ByTeacher, TrainedOnnx):
    name = "onnx"
    label = "distillation (ONNX)"
    help = "Trains a TensorFlow function of the graph; the weights go back into the file, and the graph stays as it is."
    uses = _USES
    needs = ("train", "teacher", "labels")


class _Keras(_ByTeacher, TrainedKeras):
    name = "keras"
    label = "distillation (Keras)"
    help = "Trains the Keras 3 model itself, in the form in which it predicts: without dropout or augmentation."
    uses = _USES
    needs = ("train", "teacher", "labels")


class Distill(Transform):
    """Trains all weights so that the model answers as the original (Hinton et al. 2015, arXiv:1503.02531)."""

    name = "distill"
    label = "distillation"
    help = (
        "Trains all weights to answer as the original model does, without labels if there are none, to win back what a "
        "step before has cost. Neither smaller nor faster by itself."
    )
    family = TRAIN
    parameters = (
        *PARAMETERS,
        Parameter(
            "temperature", "float", 2.0,
            "Softens the class scores of both models, so that small ones count as well; no effect on other outputs.",
            minimum=0.1, maximum=100.0,
        ),
        Parameter(
            "alpha", "float", 0.0, "Weight of the labels' loss, added to the teacher's; 0 needs no labels.",
            minimum=0.0, maximum=100.0,
        ),
    )  # fmt: skip
    variants = (_Onnx(), _Keras())


ADAPTER = Distill()

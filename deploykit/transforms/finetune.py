"""Fine-tuning: all weights are trained on the labels, usually after a step that has cost accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from deploykit.core.parameter import Parameter
from deploykit.core.problem import Facts, Problem
from deploykit.training.choices import LOSSES
from deploykit.transforms._contract import TRAIN, Transform, TransformJob
from deploykit.transforms._training import augmenting
from deploykit.transforms._training.trained import PARAMETERS, USES, LabelsOf, TrainedKeras, TrainedOnnx, Training

if TYPE_CHECKING:
    from deploykit.training.schedule import Schedule
    from deploykit.training.targets import TrainingGoal

_USES = (*USES, "loss", *augmenting.USES)


class _ByLabels(Training):
    def unable(self, parameters: dict[str, Any]) -> str:
        """A setting that changes nothing."""
        return augmenting.unheard(parameters)

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """Inputs that are not what is to be changed."""
        yield from super().problems(parameters, facts)
        yield from augmenting.problems(parameters["augment"], facts.model.inputs)

    def _goals(self, job: TransformJob, schedule: Schedule, labels: LabelsOf) -> Mapping[str, TrainingGoal]:
        return {job.scored: labels(job["loss"])}


class _Onnx(_ByLabels, TrainedOnnx):
    name = "onnx"
    label = "fine-tuning (ONNX)"
    help = "Trains a TensorFlow function of the graph; the weights go back into the file, and the graph stays as it is."
    uses = _USES
    needs = ("train", "labels")


class _Keras(_ByLabels, TrainedKeras):
    name = "keras"
    label = "fine-tuning (Keras)"
    help = "Trains the Keras 3 model itself."
    uses = _USES
    needs = ("train", "labels")


class Finetune(Transform):
    """Trains all weights on the labels of the training split."""

    name = "finetune"
    label = "fine-tuning"
    help = (
        "Trains all weights on the labels of the training data, to win back what a step before has cost. Neither "
        "smaller nor faster by itself."
    )
    family = TRAIN
    parameters = (
        *PARAMETERS,
        Parameter(
            "loss", "choice", "auto",
            "What is minimized; auto chooses by output and labels: cross-entropy for classes, else the mean squared "
            "error. mae and huber care less about outliers; none of the three compares class indices.",
            choices=tuple(LOSSES),
        ),
        *augmenting.parameters(
            "Labels stay, and must be classes of whole examples; those of mixed images count by their shares."
        ),
    )  # fmt: skip
    variants = (_Onnx(), _Keras())


ADAPTER = Finetune()

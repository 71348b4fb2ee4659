"""Training on labels where there are some, and else to answer as the original model does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from deploykit.core.errors import UnsupportedModelError
from deploykit.transforms._contract import TransformJob
from deploykit.transforms._training.trained import LabelsOf

if TYPE_CHECKING:
    from deploykit.training.schedule import Schedule
    from deploykit.training.targets import TrainingGoal

#: What class scores of the original model are softened by.
_TEMPERATURE = 2.0


def answering(job: TransformJob, schedule: Schedule, labels: LabelsOf) -> Mapping[str, TrainingGoal]:
    """What outputs are trained to be, by their names.

    Args:
        job: Has the data, and the original model.
        schedule: What is trained.
        labels: Makes the goal of the labels.

    Raises:
        UnsupportedModelError: There are no labels, and the original model gives no real numbers.
    """
    from deploykit.training.teacher import Answers, opened

    if job.examples.targets("train") is not None:
        return {job.scored: labels()}
    found = Answers(opened(job.original, job.examples), job.examples, schedule).goals(_TEMPERATURE)
    if not found:
        raise UnsupportedModelError(
            "The original model gives no real numbers that another model could be trained to give.",
            remedy="give data with labels, or leave training out (epochs=0).",
        )
    return found

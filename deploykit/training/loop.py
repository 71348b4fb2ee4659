"""The loop of training that trainers share.

A task is cancelled by ending its process, so the loop only has to report between batches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.sandbox.task import Report
from deploykit.training.early_stop import EarlyStop
from deploykit.training.progress import Progress, Trained
from deploykit.training.schedule import LAST_RATE, Schedule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Optimizers, by the names of parameters → their classes in Keras.
OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}
#: Momentum of SGD, with which a few epochs are enough.
_MOMENTUM = 0.9


@dataclass(frozen=True)
class Trainee:
    """What is trained.

    Attributes:
        step: Trains on some training examples; gives their mean loss before the step.
        measure: The mean loss of some training examples.
        weights: Gives the weights.
        restore: Takes them back.
    """

    step: Callable[[NDArray[np.int64]], float]
    measure: Callable[[NDArray[np.int64]], float]
    weights: Callable[[], Any]
    restore: Callable[[Any], None]


def fit(trainee: Trainee, schedule: Schedule, loss: str, report: Report, *, patience: int = 2) -> Trained:
    """Train. With examples held out, the weights of the epoch at which their loss was smallest are kept.

    Args:
        trainee: What is trained.
        schedule: How long and on what.
        loss: Name of the loss.
        report: Called with the progress in steps.
        patience: Epochs without a smaller loss of the held-out examples after which training stops.

    Raises:
        CandidateError: The loss is not finite.
    """
    progress, stop = Progress(schedule, report), EarlyStop(patience)
    losses: list[float] = []
    held_out: list[float] = []
    batches = schedule.batches()
    for _epoch in range(schedule.epochs):
        total = 0.0
        for _ in range(schedule.steps_per_epoch):
            total += trainee.step(next(batches))
            progress.step()
        losses.append(total / schedule.steps_per_epoch)
        Trained.checked(loss, losses)
        if schedule.held_out is None:
            continue
        parts = schedule.parts(schedule.held_out)
        held_out.append(sum(len(p) * trainee.measure(p) for p in parts) / sum(map(len, parts)))
        if stop.stops(held_out[-1], trainee.weights()):
            break
    if stop.weights is not None:
        trainee.restore(stop.weights)
    return Trained.checked(loss, losses, held_out)


def optimizer(name: str, schedule: Schedule) -> Any:
    """A Keras optimizer whose learning rate falls along a cosine.

    Args:
        name: One of `OPTIMIZERS`.
        schedule: Gives the first rate and the number of steps.
    """
    keras = require("keras", "tensorflow")
    rate = keras.optimizers.schedules.CosineDecay(schedule.learning_rate, max(1, schedule.steps), alpha=LAST_RATE)
    options = {"momentum": _MOMENTUM} if name == "sgd" else {}
    return getattr(keras.optimizers, OPTIMIZERS[name])(rate, **options)

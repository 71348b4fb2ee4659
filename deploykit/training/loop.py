"""The loop of training that trainers share.

A task is cancelled by ending its process, so the loop only has to report between batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.sandbox.task import Report
from deploykit.training.choices import OPTIMIZERS
from deploykit.training.early_stop import EarlyStop
from deploykit.training.progress import Progress, Trained
from deploykit.training.schedule import Schedule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
    """Train. With examples held out, the weights with which their loss was smallest are kept.

    These can be the ones of the start: the first epochs may cost more than the last ones bring.

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
    apart = [] if schedule.held_out is None else schedule.parts(schedule.held_out)

    def remaining() -> float:
        """The loss of the examples that are held out."""
        return sum(len(part) * trainee.measure(part) for part in apart) / sum(map(len, apart))

    first, start = trainee.weights(), remaining() if apart else math.inf
    for _epoch in range(schedule.epochs):
        total = 0.0
        for _ in range(schedule.steps_per_epoch):
            total += trainee.step(next(batches))
            progress.step()
        losses.append(total / schedule.steps_per_epoch)
        Trained.checked(loss, losses)
        if not apart:
            continue
        held_out.append(remaining())
        if stop.stops(held_out[-1], trainee.weights()):
            break
    unchanged = bool(apart) and stop.best >= start
    if apart:
        trainee.restore(first if unchanged else stop.weights)
    return Trained.checked(loss, losses, held_out, unchanged=unchanged)


def optimizer(name: str, schedule: Schedule) -> Any:
    """A Keras optimizer whose learning rate rises over the first steps, then decays along a cosine.

    Args:
        name: One of `deploykit.training.choices.OPTIMIZERS`.
        schedule: Gives the rate of each step.
    """
    keras = require("keras", "tensorflow")
    rate = keras.optimizers.schedules.CosineDecay(**schedule.cosine())
    options = {"momentum": _MOMENTUM} if name == "sgd" else {}
    return getattr(keras.optimizers, OPTIMIZERS[name])(rate, **options)

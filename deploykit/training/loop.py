"""The loop of training that trainers share.

A task is cancelled by ending its process, so the loop only has to report between batches.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

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


class Given(Protocol):
    """Gives what training examples are fed and are to give."""

    def __call__(self, index: NDArray[np.int64], *, training: bool) -> Any:
        """For the examples at some places of the training split."""


@dataclass(frozen=True)
class Trainee:
    """What is trained.

    Attributes:
        given: What some training examples are fed and are to give. Called in a thread of its own, for a step while
            the one before it trains; ``training`` is false when they are only measured.
        step: Trains on what was given; gives the mean loss before the step.
        measure: The mean loss of what was given.
        weights: Gives the weights.
        restore: Takes them back.
    """

    given: Given
    step: Callable[[Any], float]
    measure: Callable[[Any], float]
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

    with ThreadPoolExecutor(1) as worker:  # one: what answers need not be asked by several threads at a time
        ahead = _ahead(worker, partial(trainee.given, training=True), itertools.islice(batches, schedule.steps))

        def remaining() -> float:
            """The loss of the examples that are held out."""
            given = _ahead(worker, partial(trainee.given, training=False), apart)
            return sum(len(part) * trainee.measure(one) for part, one in zip(apart, given, strict=True)) / sum(
                map(len, apart)
            )

        first, start = trainee.weights(), remaining() if apart else math.inf
        for _epoch in range(schedule.epochs):
            total = 0.0
            for given in itertools.islice(ahead, schedule.steps_per_epoch):
                total += trainee.step(given)
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


def _ahead(
    worker: Executor, given: Callable[[NDArray[np.int64]], Any], parts: Iterable[NDArray[np.int64]]
) -> Iterator[Any]:
    """What each part is given, made while the one before is used."""
    upcoming = None
    for part in parts:
        made, upcoming = upcoming, worker.submit(given, part)
        if made is not None:
            yield made.result()
    if upcoming is not None:
        yield upcoming.result()


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

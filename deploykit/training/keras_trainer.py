"""Training Keras 3 models natively, in a loop of our own.

A task is cancelled by ending its process, so the loop only has to report between batches.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from deploykit.converters._keras import all_layers
from deploykit.core.extras import require
from deploykit.data.dataset import Dataset
from deploykit.loading._keras.open import graph_of
from deploykit.sandbox.task import Report
from deploykit.training.early_stop import EarlyStop
from deploykit.training.keras_ends import arranged
from deploykit.training.progress import MOMENTUM, Progress, Trained
from deploykit.training.schedule import LAST_RATE, Schedule
from deploykit.training.targets import Goal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def train(
    model: Any, data: Dataset, schedule: Schedule, goal: Goal, *, report: Report, place: int = 0, patience: int = 2
) -> Trained:
    """Train a model in place. The same seed gives the same weights.

    Args:
        model: A functional or Sequential Keras 3 model.
        data: The data; only the training split is read.
        schedule: How long and on what. With examples held out, the weights of the epoch at which their loss was
            smallest are kept.
        goal: What an output is compared with.
        report: Called with the progress in steps.
        place: Place of that output among the flat outputs.
        patience: Epochs without a smaller loss of the held-out examples after which training stops.

    Raises:
        CandidateError: The loss is not finite.
    """
    keras, tf = require("keras", "tensorflow"), require("tensorflow", "tensorflow")
    keras.utils.set_random_seed(schedule.seed)
    rate = keras.optimizers.schedules.CosineDecay(schedule.learning_rate, schedule.steps, alpha=LAST_RATE)
    optimizer = keras.optimizers.Adam(rate)
    variables = model.trainable_variables
    optimizer.build(variables)
    structure = graph_of(model)._inputs_struct

    def outputs(inputs: Any, *, training: bool) -> Any:
        found = model(keras.tree.pack_sequence_as(structure, list(inputs)), training=training)
        return keras.tree.flatten(found)[place]

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def step(inputs: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = goal.loss(targets, outputs(inputs, training=True))
            total = tf.add_n([loss, *model.losses])
        optimizer.apply(tape.gradient(total, variables), variables)
        return loss

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def measure(inputs: Any, targets: Any) -> Any:
        return goal.loss(targets, outputs(inputs, training=False))

    def batch(index: NDArray[np.int64]) -> tuple[Any, Any]:
        inputs = arranged(model, data.batch("train", index), data.contract)
        return [tf.convert_to_tensor(v) for v in inputs], goal.targets(index, inputs)

    progress, stop = Progress(schedule, report), EarlyStop(patience)
    losses: list[float] = []
    held_out: list[float] = []
    batches = schedule.batches()
    with _quick_averages(model):
        for _epoch in range(schedule.epochs):
            total = 0.0
            for _ in range(schedule.steps_per_epoch):
                total += float(step(*batch(next(batches))))
                progress.step()
            losses.append(total / schedule.steps_per_epoch)
            Trained.checked(goal.name, losses)
            if schedule.held_out is None:
                continue
            parts = _parts(schedule.held_out, schedule.batch_size)
            held_out.append(sum(len(p) * float(measure(*batch(p))) for p in parts) / len(schedule.held_out))
            if stop.stops(held_out[-1], model.get_weights()):
                break
    if stop.weights is not None:
        model.set_weights(stop.weights)
    return Trained.checked(goal.name, losses, held_out)


def _parts(index: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    import numpy as np

    return [np.sort(index[start : start + size]) for start in range(0, len(index), size)]


@contextlib.contextmanager
def _quick_averages(model: Any) -> Iterator[None]:
    """Let averages of batch statistics follow the weights within the few hundred steps there are."""
    found = {id(x): (x, x.momentum) for x in all_layers(model) if type(x).__name__ == "BatchNormalization"}
    for layer, momentum in found.values():
        layer.momentum = min(momentum, MOMENTUM)
    try:
        yield
    finally:
        for layer, momentum in found.values():
            layer.momentum = momentum

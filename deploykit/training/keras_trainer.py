"""Training Keras 3 models natively."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from deploykit.converters._keras import all_layers
from deploykit.core.extras import require
from deploykit.data.dataset import Dataset
from deploykit.loading._keras.open import graph_of
from deploykit.sandbox.task import Report
from deploykit.training.augment import Batches
from deploykit.training.keras_ends import arranged
from deploykit.training.keras_hidden import watched
from deploykit.training.loop import Trainee, fit, optimizer
from deploykit.training.progress import MOMENTUM, Trained
from deploykit.training.schedule import Schedule
from deploykit.training.targets import TrainingGoal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def train(
    model: Any, data: Dataset, schedule: Schedule, goal: TrainingGoal, *, report: Report, place: int | None = 0,
    patience: int = 2, optimizer_name: str = "adam", as_used: bool = False,
    hidden: Mapping[str, Any] = MappingProxyType({}),
) -> Trained:  # fmt: skip
    """Train a model in place. The same seed gives the same weights; weights that are exactly zero stay zero.

    Args:
        model: A functional or Sequential Keras 3 model.
        data: The data; only the training split is read.
        schedule: How long and on what. With examples held out, the weights of the epoch at which their loss was
            smallest are kept.
        goal: What an output is compared with.
        report: Called with the progress in steps.
        place: Place of that output among the flat outputs; None for a goal that is given all of them.
        patience: Epochs without a smaller loss of the held-out examples after which training stops.
        optimizer_name: One of `deploykit.training.choices.OPTIMIZERS`.
        as_used: Train the model in the form in which it predicts: without dropout and augmentation, and with the mean
            and variance that its batch normalizations have.
        hidden: Layers by name; a goal that is given all outputs is given what these give after them.

    Raises:
        CandidateError: The loss is not finite.
    """
    keras, tf = require("keras", "tensorflow"), require("tensorflow", "tensorflow")
    keras.utils.set_random_seed(schedule.seed)
    variables, chosen = model.trainable_variables, optimizer(optimizer_name, schedule)
    chosen.build(variables)
    kept = [  # what a technique has pruned
        (variable, tf.constant((array != 0).astype(array.dtype)))
        for variable in variables
        if (array := variable.numpy()).ndim > 1 and not array.all()
    ]
    structure = graph_of(model)._inputs_struct

    def outputs(inputs: Any, *, training: bool) -> Any:
        with watched(hidden) as seen:
            found = model(keras.tree.pack_sequence_as(structure, list(inputs)), training=training)
        flat = [*keras.tree.flatten(found), *(seen[name] for name in hidden)]
        return flat if place is None else flat[place]

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def step(inputs: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = goal.loss(targets, outputs(inputs, training=not as_used))
            total = tf.add_n([loss, *model.losses])
        chosen.apply(tape.gradient(total, variables), variables)
        for variable, mask in kept:
            variable.assign(variable * mask)
        return loss

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def measure(inputs: Any, targets: Any) -> Any:
        return goal.loss(targets, outputs(inputs, training=False))

    batches = Batches(data, schedule)

    def given(index: NDArray[np.int64], *, training: bool) -> tuple[Any, Any]:
        batch = batches.changed(index) if training else batches.plain(index)
        inputs = arranged(model, batch.inputs, data.contract)
        return [tf.convert_to_tensor(v) for v in inputs], goal.targets(batch)

    trainee = Trainee(
        given=given,
        step=lambda made: float(step(*made)),
        measure=lambda made: float(measure(*made)),
        weights=model.get_weights,
        restore=model.set_weights,
    )
    with _quick_averages(model):
        return fit(trainee, schedule, goal.name, report, patience=patience)


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

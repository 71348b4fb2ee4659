"""Fine-tuning the tf_keras side of a bridge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.converters._keras import exportable
from deploykit.core.extras import require
from deploykit.data.dataset import Dataset
from deploykit.sandbox.task import Report
from deploykit.training.bridge import Bridge
from deploykit.training.keras_ends import activation_name, arranged, final_operation
from deploykit.training.objective import objective
from deploykit.training.progress import MOMENTUM, Progress, Trained
from deploykit.training.schedule import Schedule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def fine_tune(
    bridge: Bridge, data: Dataset, schedule: Schedule, callbacks: Sequence[Any], *, scored: str, report: Report
) -> Trained:
    """Train the tf_keras model of a bridge on the output that is scored.

    Args:
        bridge: The model.
        data: The data, with labels.
        schedule: How long and on what.
        callbacks: Of tf_keras, called before the progress is reported.
        scored: Name of the output that the labels are about; "" for the first one.
        report: Called with the progress in steps.

    Raises:
        CandidateError: The loss is not finite.
        DatasetError: The labels do not fit the output.
    """
    import numpy as np

    tf_keras = require("tf_keras", "tensorflow")
    labels = data.targets("train")
    assert labels is not None
    tf_keras.utils.set_random_seed(schedule.seed)
    places = exportable(bridge.source).outputs
    place = places.get(scored, next(iter(places.values())))  # else the output that is listed first
    first = bridge.source.outputs[place]
    trained = tf_keras.Model(bridge.model.inputs, bridge.model.outputs[place])
    sample = trained.predict_on_batch(_inputs(bridge, data, schedule.examples[:16]))
    goal = objective(
        activation_name(final_operation(first)), tuple(first.shape), labels, np.asarray(sample, np.float32)
    )
    for pair in bridge.pairs:
        if type(pair.twin).__name__ == "BatchNormalization":
            pair.twin.momentum = min(pair.twin.momentum, MOMENTUM)
    rate = tf_keras.optimizers.schedules.CosineDecay(**schedule.cosine())
    trained.compile(optimizer=tf_keras.optimizers.Adam(rate), loss=goal.of(tf_keras))
    progress = Progress(schedule, report)
    history = trained.fit(
        _batches(bridge, data, schedule, labels),
        steps_per_epoch=schedule.steps_per_epoch,
        epochs=schedule.epochs,
        callbacks=[*callbacks, tf_keras.callbacks.LambdaCallback(on_batch_end=lambda *_, **__: progress.step())],
        verbose=0,
    )
    return Trained.checked(goal.loss, history.history["loss"])


def _inputs(bridge: Bridge, data: Dataset, index: NDArray[np.int64]) -> Any:
    arrays = arranged(bridge.source, data.batch("train", index), data.contract)
    return arrays if len(arrays) > 1 else arrays[0]


def _batches(
    bridge: Bridge, data: Dataset, schedule: Schedule, labels: NDArray[Any]
) -> Iterator[tuple[Any, NDArray[Any]]]:
    for index in schedule.batches():
        yield _inputs(bridge, data, index), labels[index]

"""Fine-tuning the tf_keras side of a bridge: which loss fits model and labels, which examples, progress."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.converters._keras import exportable
from deploykit.core.errors import CandidateError, DatasetError
from deploykit.core.extras import require
from deploykit.data.dataset import Dataset
from deploykit.data.splits import shuffled
from deploykit.transforms._bridge import Bridge, activation_name, arranged, final_operation
from deploykit.transforms._contract import TransformJob

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MESSAGES = 100
#: Averages of batch statistics must follow the weights within the few hundred steps there are.
_MOMENTUM = 0.9
#: Learning rate of the last step, as a share of the first one's.
_LAST_RATE = 0.02


@dataclass(frozen=True)
class Objective:
    """What fine-tuning minimizes.

    Attributes:
        loss: Class name in ``tf_keras.losses``.
        from_logits: Whether the model's output is the value before softmax or sigmoid; None where that has no meaning.
    """

    loss: str
    from_logits: bool | None = None


@dataclass(frozen=True)
class Plan:
    """How long to train and on what.

    Attributes:
        examples: Indices into the training split.
        batch_size: Examples a step.
        epochs: Passes over the examples.
        learning_rate: Of Adam at the first step; it falls along a cosine.
        seed: Of the order of the examples and of dropout.
    """

    examples: NDArray[np.int64]
    batch_size: int
    epochs: int
    learning_rate: float
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Full batches a pass; a smaller last one would be retraced, which takes longer than it teaches."""
        return max(1, len(self.examples) // self.batch_size)

    @property
    def steps(self) -> int:
        """All steps."""
        return self.steps_per_epoch * self.epochs


def plan(job: TransformJob, data: Dataset) -> Plan:
    """The plan the parameters ``epochs``, ``batch_size``, ``learning_rate`` and ``train_examples`` ask for."""
    train = data.splits["train"]
    order = shuffled(len(train), train.labels, job.seed)
    chosen = order[: job["train_examples"] or len(order)]
    return Plan(chosen, min(job["batch_size"], len(chosen)), job["epochs"], job["learning_rate"], job.seed)


def objective(activation: str, shape: Sequence[int | None], labels: NDArray[Any], sample: NDArray[Any]) -> Objective:
    """The loss that fits a model's first output and the labels.

    Args:
        activation: Name of the last activation, "" when the model has none or hides it.
        shape: Shape of the output, batch first.
        labels: Labels of the training split.
        sample: Some outputs of the model: shows a softmax that the layers do not name.

    Raises:
        DatasetError: Labels and output do not belong together.
    """
    whole = labels.dtype.kind in "iub"
    width = shape[-1] or 1
    if whole and width > 1 and labels.ndim == len(shape) - 1:
        if (highest := int(labels.max())) >= width:
            raise DatasetError(f"The labels go up to class {highest}, but the model has {width} outputs.")
        return Objective(
            "SparseCategoricalCrossentropy", not (activation in ("softmax", "sigmoid") or _sums_to_1(sample))
        )
    within = bool((labels >= 0).all() and (labels <= 1).all())
    if activation == "sigmoid" and within:
        return Objective("BinaryCrossentropy", from_logits=False)
    if whole and width == 1 and within:
        return Objective("BinaryCrossentropy", from_logits=True)
    if width > 1 and within and labels.shape[-1] == width and (activation == "softmax" or _sums_to_1(sample)):
        return Objective("CategoricalCrossentropy", from_logits=False)
    if not whole and labels.ndim > 1 and tuple(labels.shape[1:]) != tuple(shape[1:]):
        raise DatasetError(
            f"The labels have shape {labels.shape[1:]} per example, but the model's output is {tuple(shape[1:])}."
        )
    return Objective("MeanSquaredError")


def _sums_to_1(sample: NDArray[Any]) -> bool:
    import numpy as np

    return bool((sample >= 0).all() and np.allclose(sample.sum(axis=-1), 1.0, atol=1e-3))


def fine_tune(bridge: Bridge, job: TransformJob, data: Dataset, plan: Plan, callbacks: Sequence[Any]) -> list[float]:
    """Train the tf_keras model of a bridge on the output that is scored.

    Returns:
        The loss of each epoch.

    Raises:
        CandidateError: The loss is not finite.
        DatasetError: The labels do not fit the output.
    """
    import numpy as np

    tf_keras = require("tf_keras", "tensorflow")
    labels = data.labels("train")
    assert labels is not None
    tf_keras.utils.set_random_seed(plan.seed)
    places = exportable(bridge.source).outputs
    place = places.get(job.scored, next(iter(places.values())))  # else the output that is listed first
    first = bridge.source.outputs[place]
    trained = tf_keras.Model(bridge.model.inputs, bridge.model.outputs[place])
    sample = trained.predict_on_batch(_inputs(bridge, data, plan.examples[:16]))
    goal = objective(
        activation_name(final_operation(first)), tuple(first.shape), labels, np.asarray(sample, np.float32)
    )
    options = {} if goal.from_logits is None else {"from_logits": goal.from_logits}
    for pair in bridge.pairs:
        if type(pair.twin).__name__ == "BatchNormalization":
            pair.twin.momentum = min(pair.twin.momentum, _MOMENTUM)
    rate = tf_keras.optimizers.schedules.CosineDecay(plan.learning_rate, plan.steps, alpha=_LAST_RATE)
    trained.compile(
        optimizer=tf_keras.optimizers.Adam(rate),
        loss=getattr(tf_keras.losses, goal.loss)(**options),
    )
    history = trained.fit(
        _batches(bridge, data, plan, labels),
        steps_per_epoch=plan.steps_per_epoch,
        epochs=plan.epochs,
        callbacks=[*callbacks, _progress(job, plan)],
        verbose=0,
    )
    losses = [float(v) for v in history.history["loss"]]
    if not np.isfinite(losses).all():
        raise CandidateError(
            f"Fine-tuning diverged: the loss is {losses[-1]}.", remedy="lower learning_rate, or raise batch_size."
        )
    job.notes["loss"] = goal.loss
    job.notes["loss_by_epoch"] = [round(v, 5) for v in losses]
    return losses


def _inputs(bridge: Bridge, data: Dataset, index: NDArray[np.int64]) -> Any:
    arrays = arranged(bridge.source, data.batch("train", index), data.contract)
    return arrays if len(arrays) > 1 else arrays[0]


def _batches(bridge: Bridge, data: Dataset, plan: Plan, labels: NDArray[Any]) -> Iterator[tuple[Any, NDArray[Any]]]:
    import numpy as np

    rng = np.random.default_rng(plan.seed)
    while True:
        order = rng.permutation(plan.examples)
        for step in range(plan.steps_per_epoch):
            index = np.sort(order[step * plan.batch_size : (step + 1) * plan.batch_size])  # memory maps like it sorted
            yield _inputs(bridge, data, index), labels[index]


def _progress(job: TransformJob, plan: Plan) -> Any:
    tf_keras = require("tf_keras", "tensorflow")
    every = max(1, plan.steps // _MESSAGES)

    done = 0

    def count(batch: int, logs: Any = None) -> None:
        nonlocal done
        del batch, logs
        done += 1
        if done % every == 0 or done == plan.steps:
            epoch = -(-done // plan.steps_per_epoch)
            job.report(done, plan.steps, f"steps of fine-tuning, epoch {epoch} of {plan.epochs}")

    return tf_keras.callbacks.LambdaCallback(on_batch_end=count)

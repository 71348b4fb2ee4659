"""Training ONNX files, by a TensorFlow function of the same graph whose variables are the file's weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.converters._tensorflow_graph.write import Graph
from deploykit.core.errors import DatasetError, UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.model import align
from deploykit.data.dataset import Dataset
from deploykit.data.feeding import Feeding, forms
from deploykit.loading.onnx import signature
from deploykit.sandbox.task import Report
from deploykit.training.augment import Batches
from deploykit.training.loop import Trainee, fit, optimizer
from deploykit.training.onnx import weights as onnx_weights
from deploykit.training.onnx.folded import folded
from deploykit.training.onnx.hidden import opened_up
from deploykit.training.progress import Trained
from deploykit.training.schedule import Schedule
from deploykit.training.targets import TrainingGoal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass
class OnnxTrainer:
    """An ONNX model to be trained.

    Attributes:
        model: The ``ModelProto``.
        path: Where it comes from, for messages.
        data: The data; only the training split is read.
        watched: Names of tensors that a goal is given after the outputs.

    Raises:
        UnsupportedModelError: An operator has no rule, the model keeps a state, or nothing in it can be trained.
        DatasetError: An input is missing.
    """

    model: Any
    path: Path
    data: Dataset
    watched: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.inputs, self.outputs = signature(self.model, self.path)
        contract = self.data.contract
        if contract is not None and (contract.sequences or contract.state):
            raise UnsupportedModelError(
                "The model carries a state from step to step, which is not trained.",
                remedy="use techniques that need no training for this model.",
            )
        self._graph = Graph(folded(opened_up(self.model, self.watched)))
        self._weights = onnx_weights.trainable(self.model)
        if not self._weights:
            raise UnsupportedModelError(
                "The model has no float32 weights that can be trained.",
                remedy="use techniques that need no training for this model.",
            )
        self.feeding = Feeding.of(contract, self.inputs)

    @property
    def batch_size(self) -> int | None:
        """The fixed batch size, None when it is free."""
        return self.feeding.batch_size

    def feeds(self, index: NDArray[np.int64]) -> list[NDArray[Any]]:
        """The inputs of some training examples, in the file's order."""
        return self.feeding.arrange(self.data.batch("train", index))

    def place(self, name: str) -> int:
        """Place of an output that the contract, or the file without one, calls like this; 0 for ""."""
        own, contract = [spec.name for spec in self.outputs], self.data.contract
        if contract is None or not name:
            return own.index(name) if name in own else 0
        names = [meaning.name for meaning in contract.outputs]
        found = align(names, own, (forms(contract.outputs), forms(self.outputs)))[names.index(name)]
        if found < 0:
            raise UnsupportedModelError(
                f"The file has no output {name}; it has {', '.join(own)}.",
                remedy="please report this: a conversion has dropped an output.",
            )
        return found

    def given(self, index: NDArray[np.int64]) -> list[NDArray[Any]]:
        """The outputs for some training examples, before training; after them what is watched."""
        tf = require("tensorflow", "tensorflow")
        return [tensor.numpy() for tensor in self([tf.convert_to_tensor(v) for v in self.feeds(index)])]

    def __call__(self, tensors: Sequence[Any]) -> list[Any]:
        """The outputs for tensors in the file's order, before training; after them what is watched."""
        return self._graph(tensors)

    def train(
        self, schedule: Schedule, goal: TrainingGoal, *, report: Report, optimizer_name: str, patience: int
    ) -> tuple[Any, Trained]:
        """Train a copy. The same seed gives the same weights; weights that are exactly zero stay zero.

        Args:
            schedule: How long and on what.
            goal: What the outputs are compared with.
            report: Called with the progress in steps.
            optimizer_name: One of `deploykit.training.choices.OPTIMIZERS`.
            patience: Epochs without a smaller loss of the held-out examples after which training stops.

        Returns:
            The trained ``ModelProto`` and what training has done.

        Raises:
            CandidateError: The loss is not finite.
            DatasetError: There are fewer examples than the batch that the model takes.
        """
        keras, tf = require("keras", "tensorflow"), require("tensorflow", "tensorflow")
        if self.batch_size and schedule.batch_size != self.batch_size:
            raise DatasetError(
                f"The model takes batches of {self.batch_size}, but there are {len(schedule.examples)} training "
                "examples.",
                remedy="provide more training data.",
            )
        keras.utils.set_random_seed(schedule.seed)
        variables = {name: tf.Variable(array) for name, array in self._weights.items()}
        kept = {  # what a technique has pruned
            name: tf.constant((array != 0).astype(array.dtype))
            for name, array in self._weights.items() if array.ndim > 1 and not array.all()
        }  # fmt: skip
        chosen = optimizer(optimizer_name, schedule)
        chosen.build(list(variables.values()))

        @tf.function(reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
        def step(inputs: Any, targets: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = goal.loss(targets, self._graph(inputs, variables))
            gradients = tape.gradient(loss, list(variables.values()), unconnected_gradients="zero")
            chosen.apply(gradients, list(variables.values()))
            for name, mask in kept.items():
                variables[name].assign(variables[name] * mask)
            return loss

        @tf.function(reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
        def measure(inputs: Any, targets: Any) -> Any:
            return goal.loss(targets, self._graph(inputs, variables))

        batches = Batches(self.data, schedule)

        def given(index: NDArray[np.int64], *, training: bool) -> tuple[Any, Any]:
            batch = batches.changed(index) if training else batches.plain(index)
            inputs = self.feeding.arrange(batch.inputs)
            return [tf.convert_to_tensor(v) for v in inputs], goal.targets(batch)

        def restore(weights: dict[str, NDArray[Any]]) -> None:
            for name, array in weights.items():
                variables[name].assign(array)

        def weights() -> dict[str, NDArray[Any]]:
            return {name: variable.numpy() for name, variable in variables.items()}

        trainee = Trainee(
            given=given,
            step=lambda made: float(step(*made)),
            measure=lambda made: float(measure(*made)),
            weights=weights,
            restore=restore,
        )
        trained = fit(trainee, schedule, goal.name, report, patience=patience)
        return onnx_weights.written(self.model, weights()), trained

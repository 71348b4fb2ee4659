"""What a model's answers are trained to be: labels, or the answers of another model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.data.batch import Batch
from deploykit.training.objective import Objective

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Smallest probability whose logarithm is taken.
_LEAST = 1e-7


class TrainingGoal(ABC):
    """What the trained output of a model is compared with.

    Attributes:
        name: Name of the loss, for the report.
    """

    name: str

    @abstractmethod
    def targets(self, batch: Batch) -> Any:
        """What some training examples are to give.

        Args:
            batch: The examples, as the model is fed them.
        """

    @abstractmethod
    def loss(self, targets: Any, outputs: Any) -> Any:
        """The mean loss of a batch, a scalar tensor. Called while a graph is traced."""


class Labels(TrainingGoal):
    """The labels of the training split.

    Args:
        objective: The loss.
        labels: The labels.
    """

    def __init__(self, objective: Objective, labels: NDArray[Any]) -> None:
        self.name = objective.loss
        self._labels = labels
        self._loss = objective.of(require("keras", "tensorflow"))

    def targets(self, batch: Batch) -> Any:
        """Their labels; of examples that are mixed both, and the share of the first."""
        labels, mixing = self._labels[batch.index], batch.mixing
        return labels if mixing is None else (labels, labels[mixing.partners], mixing.shares)

    def loss(self, targets: Any, outputs: Any) -> Any:
        """As `Objective` says; of examples that are mixed by the share of each label (Zhang et al. 2018)."""
        if not isinstance(targets, tuple):
            return self._loss(targets, outputs)
        own, partners, shares = targets
        return self._loss(own, outputs, sample_weight=shares) + self._loss(partners, outputs, sample_weight=1 - shares)


@dataclass
class Teacher(TrainingGoal):
    """The class scores of another model: T² times the Kullback-Leibler divergence (Hinton et al. 2015).

    Attributes:
        ask: Gives the teacher's scores for the inputs of a batch.
        temperature: T, which both distributions are softened by.
        probabilities: Whether scores are probabilities, not what comes before softmax.
        axis: Axis of the classes.
    """

    ask: Callable[[Batch], Any]
    temperature: float = 1.0
    probabilities: bool = True
    axis: int = -1
    name: str = "KLDivergence"

    def targets(self, batch: Batch) -> Any:
        """What the teacher gives."""
        return self.ask(batch)

    def loss(self, targets: Any, outputs: Any) -> Any:
        """The divergence."""
        tf = require("tensorflow", "tensorflow")
        wanted, found = (
            tf.nn.log_softmax(self._logits(v) / self.temperature, self.axis) for v in (targets, outputs)
        )  # fmt: skip
        return self.temperature**2 * tf.reduce_mean(tf.reduce_sum(tf.exp(wanted) * (wanted - found), axis=self.axis))

    def _logits(self, scores: Any) -> Any:
        tf = require("tensorflow", "tensorflow")
        scores = tf.cast(scores, tf.float32)
        return tf.math.log(tf.maximum(scores, _LEAST)) if self.probabilities else scores


@dataclass
class TwoClasses(Teacher):
    """The same where each number stands for itself: the probability of a class, or what comes before a sigmoid."""

    def loss(self, targets: Any, outputs: Any) -> Any:
        """The divergence of two classes, mean over all numbers."""
        tf = require("tensorflow", "tensorflow")
        wanted, found = (self._logits(v) / self.temperature for v in (targets, outputs))
        yes = tf.sigmoid(wanted)
        entropy = tf.nn.sigmoid_cross_entropy_with_logits
        return self.temperature**2 * tf.reduce_mean(entropy(yes, found) - entropy(yes, wanted))

    def _logits(self, scores: Any) -> Any:
        tf = require("tensorflow", "tensorflow")
        scores = tf.cast(scores, tf.float32)
        if not self.probabilities:
            return scores
        scores = tf.clip_by_value(scores, _LEAST, 1 - _LEAST)
        return tf.math.log(scores) - tf.math.log1p(-scores)


@dataclass
class Values(Teacher):
    """Numbers that stand for themselves: the mean squared error, relative to their variance in a sample.

    Attributes:
        variance: The variance.
    """

    variance: float = 1.0
    name: str = "MeanSquaredError"

    def loss(self, targets: Any, outputs: Any) -> Any:
        """The error."""
        tf = require("tensorflow", "tensorflow")
        gaps = tf.math.squared_difference(tf.cast(targets, tf.float32), tf.cast(outputs, tf.float32))
        return tf.reduce_mean(gaps) / self.variance


@dataclass
class Logits(Values):
    """Class scores as they are before softmax or sigmoid: the mean squared error, relative to their variance.

    Attributes:
        center: Axis of the classes of probabilities; None where each number stands for itself, or scores are given.

    Source: Kim et al. 2021, https://arxiv.org/abs/2105.08919
    """

    center: int | None = None
    name: str = "MeanSquaredError of logits"

    @classmethod
    def of(
        cls, ask: Callable[[Batch], Any], sample: NDArray[Any], *, probabilities: bool,
        axis: int | None,
    ) -> Logits:  # fmt: skip
        """The goal for some answers.

        Args:
            ask: Gives the teacher's scores.
            sample: Some of them.
            probabilities: Whether scores are probabilities.
            axis: Axis of the classes; None where each number stands for itself.
        """
        found = cls(ask, probabilities=probabilities, axis=-1 if axis is None else axis, center=axis)
        found.variance = float(found.logits(sample).numpy().var()) or 1.0
        return found

    def loss(self, targets: Any, outputs: Any) -> Any:
        """The error."""
        return super().loss(self.logits(targets), self.logits(outputs))

    def logits(self, scores: Any) -> Any:
        """What comes before softmax, up to a number that is the same for all classes, or before sigmoid."""
        tf = require("tensorflow", "tensorflow")
        scores = tf.cast(scores, tf.float32)
        if not self.probabilities:
            return scores
        scores = tf.clip_by_value(scores, _LEAST, 1 - _LEAST)
        if self.center is None:
            return tf.math.log(scores) - tf.math.log1p(-scores)
        logs = tf.math.log(scores)
        return logs - tf.reduce_mean(logs, axis=self.center, keepdims=True)


class Mixed(TrainingGoal):
    """Labels and a teacher: α times the loss of the labels and the teacher's on top (Hinton et al. 2015).

    Args:
        labels: The labels.
        teacher: The teacher.
        alpha: Weight of the labels.
    """

    def __init__(self, labels: TrainingGoal, teacher: TrainingGoal, alpha: float) -> None:
        self.name = f"{alpha:g} × {labels.name} + {teacher.name}"
        self._labels, self._teacher, self._alpha = labels, teacher, alpha

    def targets(self, batch: Batch) -> Any:
        """Both."""
        return self._labels.targets(batch), self._teacher.targets(batch)

    def loss(self, targets: Any, outputs: Any) -> Any:
        """The sum."""
        labels, answers = targets
        return self._alpha * self._labels.loss(labels, outputs) + self._teacher.loss(answers, outputs)


class Several(TrainingGoal):
    """Goals for several outputs, which count alike; it is given all outputs of the model.

    Args:
        goals: Place of an output → its goal.
    """

    def __init__(self, goals: Mapping[int, TrainingGoal]) -> None:
        self.name = " + ".join(dict.fromkeys(goal.name for goal in goals.values()))
        self._goals = dict(goals)

    def targets(self, batch: Batch) -> Any:
        """Those of each goal."""
        return [goal.targets(batch) for goal in self._goals.values()]

    def loss(self, targets: Any, outputs: Any) -> Any:
        """The sum."""
        tf = require("tensorflow", "tensorflow")
        pairs = zip(self._goals.items(), targets, strict=True)
        return tf.add_n([goal.loss(wanted, outputs[place]) for (place, goal), wanted in pairs])

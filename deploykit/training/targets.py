"""What a model's answers are trained to be: labels, or the answers of another model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.training.objective import Objective

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: The inputs of a batch, in the order in which Keras counts them.
Inputs = Sequence["NDArray[Any]"]
#: Smallest probability whose logarithm is taken.
_LEAST = 1e-7


class Goal(ABC):
    """What the trained output of a model is compared with.

    Attributes:
        name: Name of the loss, for the report.
    """

    name: str

    @abstractmethod
    def targets(self, index: NDArray[np.int64], inputs: Inputs) -> Any:
        """What some training examples are to give.

        Args:
            index: Places of the examples in the training split.
            inputs: What the model is fed for them.
        """

    @abstractmethod
    def loss(self, targets: Any, outputs: Any) -> Any:
        """The mean loss of a batch, a scalar tensor. Called while a graph is traced."""


class Labels(Goal):
    """The labels of the training split.

    Args:
        objective: The loss.
        labels: The labels.
    """

    def __init__(self, objective: Objective, labels: NDArray[Any]) -> None:
        self.name = objective.loss
        self._labels = labels
        self._loss = objective.of(require("keras", "tensorflow"))

    def targets(self, index: NDArray[np.int64], inputs: Inputs) -> Any:
        """Their labels."""
        return self._labels[index]

    def loss(self, targets: Any, outputs: Any) -> Any:
        """As `Objective` says."""
        return self._loss(targets, outputs)


@dataclass
class Teacher(Goal):
    """The class scores of another model: T² times the Kullback-Leibler divergence (Hinton et al. 2015).

    Attributes:
        ask: Gives the teacher's scores for the inputs of a batch.
        temperature: T, which both distributions are softened by.
        probabilities: Whether scores are probabilities, not what comes before softmax.
    """

    ask: Callable[[Inputs], Any]
    temperature: float = 1.0
    probabilities: bool = True
    name: str = "KLDivergence"

    def targets(self, index: NDArray[np.int64], inputs: Inputs) -> Any:
        """What the teacher gives."""
        return self.ask(inputs)

    def loss(self, targets: Any, outputs: Any) -> Any:
        """The divergence."""
        tf = require("tensorflow", "tensorflow")
        wanted, found = (tf.nn.log_softmax(self._logits(v) / self.temperature) for v in (targets, outputs))
        return self.temperature**2 * tf.reduce_mean(tf.reduce_sum(tf.exp(wanted) * (wanted - found), axis=-1))

    def _logits(self, scores: Any) -> Any:
        tf = require("tensorflow", "tensorflow")
        scores = tf.cast(scores, tf.float32)
        return tf.math.log(tf.maximum(scores, _LEAST)) if self.probabilities else scores

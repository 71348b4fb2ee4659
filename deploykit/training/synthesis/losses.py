"""What synthesized inputs are judged by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import OutputMeaning
from deploykit.core.extras import require

if TYPE_CHECKING:
    from deploykit.training.synthesis.subject import Statistics

#: Added to a variance, as batch normalization does it.
_EPSILON = 1e-5
_LEAST = 1e-7


def moments(tensor: Any, axis: int) -> tuple[Any, Any]:
    """Mean and variance of each channel of a batch.

    Args:
        tensor: What a batch normalization takes.
        axis: The axis of the channels.
    """
    tf = require("tensorflow", "tensorflow")
    rank = len(tensor.shape)
    mean, variance = tf.nn.moments(tensor, [a for a in range(rank) if a != axis % rank])
    return mean, variance


def distance(taken: Sequence[Any], statistics: Sequence[Statistics]) -> Any:
    """How far the statistics of a batch are from the stored ones: 0 where both are equal.

    Of every channel, the squared differences of mean and standard deviation in units of the stored standard deviation;
    then the mean over channels and layers.

    Args:
        taken: What the batch normalizations take.
        statistics: What they have stored.
    """
    tf = require("tensorflow", "tensorflow")
    parts = []
    for tensor, stored in zip(taken, statistics, strict=True):
        mean, variance = moments(tensor, stored.axis)
        wanted, spread = tf.constant(stored.mean), tf.constant((stored.variance + _EPSILON) ** 0.5)
        deviation = tf.sqrt(variance + _EPSILON)
        parts.append(tf.reduce_mean(((mean - wanted) / spread) ** 2) + tf.reduce_mean((deviation / spread - 1) ** 2))
    return tf.add_n(parts) / len(parts)


def logits(output: Any, meaning: OutputMeaning) -> Any:
    """Scores of classes (batch, classes) before softmax; None for outputs that do not hold one score for each class.

    Args:
        output: The scored output, batch first.
        meaning: What it holds.
    """
    tf = require("tensorflow", "tensorflow")
    if meaning.kind not in ("scores", "probabilities") or len(output.shape) != 2:
        return None
    return tf.math.log(output + _LEAST) if meaning.kind == "probabilities" else output

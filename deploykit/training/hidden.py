"""Distillation inside of a model: chosen layers are trained to give what the same layers of the original give.

A step before may have changed the number of channels of a layer. What is compared then needs no layer between the two
models: where activations have positions, the map of the attention that a layer pays to each; where they have none, how
much alike the examples of a batch are to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import SettingError, UnsupportedModelError
from deploykit.core.extras import require
from deploykit.data.batch import Batch
from deploykit.training.targets import Teacher, TrainingGoal, Values

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAST = 1e-12
_SHOWN = 12


def matching(text: str, student: Iterable[str], teacher: Iterable[str]) -> list[str]:
    """The layers that both models have and that a setting names, in the student's order.

    Args:
        text: Names separated by commas; ``*`` stands for any characters.
        student: Names of the layers of the model that is trained.
        teacher: Names of the layers of the original.

    Raises:
        SettingError: A name stands for no layer of both; says what there is.
    """
    theirs = set(teacher)
    own = list(dict.fromkeys(student))
    both = [name for name in own if name in theirs]
    found: set[str] = set()
    for pattern in filter(None, map(str.strip, text.split(","))):
        fits = {name for name in both if name == pattern} or {name for name in both if fnmatchcase(name, pattern)}
        if not fits:
            known = [
                models for models, names in (("model that is trained", own), ("original", theirs)) if pattern in names
            ]
            shown = ", ".join(both[:_SHOWN]) + (f" and {len(both) - _SHOWN} more" if len(both) > _SHOWN else "")
            raise SettingError(
                f"The layer {pattern!r} in hidden is one that only the {known[0]} has." if known
                else f"No layer of both models is called {pattern!r}, which hidden names.",
                remedy=f"layers of both models: {shown or 'none'}.",
            )  # fmt: skip
        found |= fits
    return [name for name in both if name in found]


def hidden_goal(layer: str, ask: Callable[[Batch], Any], wanted: NDArray[Any], found: NDArray[Any]) -> Teacher:
    """What comparing a layer with the original's means.

    Args:
        layer: Its name.
        ask: Gives the original's activations for training examples.
        wanted: Some of them.
        found: The activations of the model that is trained, for as many examples.

    Raises:
        UnsupportedModelError: They are not real numbers for each example, or differ in more than their channels.
    """
    if wanted.dtype.kind != "f" or found.dtype.kind != "f":
        raise _refused(layer, "gives no real numbers")
    if wanted.ndim < 2 or wanted.ndim != found.ndim or len(wanted) != len(found):
        raise _refused(layer, f"gives {_shape(found)}, and {_shape(wanted)} in the original")
    differing = [axis for axis in range(1, wanted.ndim) if wanted.shape[axis] != found.shape[axis]]
    if not differing:
        return Values(ask, variance=float(wanted.var()) or 1.0)
    if len(differing) > 1:
        raise _refused(layer, f"gives {_shape(found)}, and {_shape(wanted)} in the original")
    if wanted.ndim > 2:
        return Attention(ask, axis=differing[0])
    if len(wanted) < 2:
        raise _refused(layer, "has other channels than in the original, and the model takes one example at a time")
    return Similarity(ask)


def form_of(goal: Teacher) -> str:
    """In words what is compared, for the notes."""
    return {Attention: "attention maps", Similarity: "similarity of examples"}.get(type(goal), "activations")


class Weighted(TrainingGoal):
    """A goal that counts more or less than others.

    Args:
        goal: The goal.
        weight: What its loss is multiplied by.
    """

    def __init__(self, goal: TrainingGoal, weight: float) -> None:
        self.name = f"{weight:g} × {goal.name}"
        self._goal, self._weight = goal, weight

    def targets(self, batch: Batch) -> Any:
        """Those of the goal."""
        return self._goal.targets(batch)

    def loss(self, targets: Any, outputs: Any) -> Any:
        """The loss of the goal times the weight."""
        return self._weight * self._goal.loss(targets, outputs)


@dataclass
class Attention(Teacher):
    """How much of a layer's energy is at each position, whatever the number of its channels.

    The squares are summed over the channels, the map of each example is scaled to a length of 1, and the loss is the
    mean squared distance of two maps, at most 2.

    Attributes:
        axis: Axis of the channels.

    Source: attention transfer, Zagoruyko & Komodakis 2017, https://arxiv.org/abs/1612.03928
    """

    axis: int = -1
    name: str = "AttentionTransfer"

    def loss(self, targets: Any, outputs: Any) -> Any:
        """The distance of the maps."""
        tf = require("tensorflow", "tensorflow")
        wanted, found = (self._map(tf, value) for value in (targets, outputs))
        return tf.reduce_mean(tf.reduce_sum(tf.math.squared_difference(wanted, found), axis=-1))

    def _map(self, tf: Any, value: Any) -> Any:
        energy = tf.reduce_sum(tf.square(tf.cast(value, tf.float32)), axis=self.axis)
        return tf.math.l2_normalize(tf.reshape(energy, [tf.shape(energy)[0], -1]), axis=-1, epsilon=_LEAST)


@dataclass
class Similarity(Teacher):
    """How much alike a layer finds the examples of a batch, whatever the number of its channels.

    The products of all pairs of examples are scaled to a length of 1 for each example, and the loss is the mean squared
    distance of two rows of products.

    Source: similarity-preserving distillation, Tung & Mori 2019, https://arxiv.org/abs/1907.09682
    """

    name: str = "Similarity"

    def loss(self, targets: Any, outputs: Any) -> Any:
        """The distance of the rows."""
        tf = require("tensorflow", "tensorflow")
        wanted, found = (self._rows(tf, value) for value in (targets, outputs))
        return tf.reduce_mean(tf.reduce_sum(tf.math.squared_difference(wanted, found), axis=-1))

    def _rows(self, tf: Any, value: Any) -> Any:
        value = tf.cast(value, tf.float32)
        return tf.math.l2_normalize(tf.matmul(value, value, transpose_b=True), axis=-1, epsilon=_LEAST)


def weighted(
    chosen: Mapping[str, Callable[[Batch], Any]], wanted: Mapping[str, NDArray[Any]],
    found: Mapping[str, NDArray[Any]], weight: float,
) -> tuple[list[TrainingGoal], dict[str, str]]:  # fmt: skip
    """The goals of some layers, and what each compares; together they count as much as ``weight``.

    Args:
        chosen: What gives the original's activations, by layer.
        wanted: Some of them, by layer.
        found: Those of the model that is trained, by layer.
        weight: What the mean of their losses is multiplied by.
    """
    goals = {name: hidden_goal(name, ask, wanted[name], found[name]) for name, ask in chosen.items()}
    forms = {name: form_of(goal) for name, goal in goals.items()}
    return [Weighted(goal, weight / len(goals)) for goal in goals.values()], forms


def _refused(layer: str, why: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"The layer {layer!r} in hidden {why}, so that it cannot be compared.",
        remedy="choose other layers, for example activations after convolutions.",
    )


def _shape(array: NDArray[Any]) -> str:
    return f"arrays of shape {array.shape}"

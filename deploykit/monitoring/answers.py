"""What is measured of a model's answers: which class, how sure, how undecided; values as they are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import Kind
from deploykit.core.serial import Plain
from deploykit.monitoring.stable import spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Classes with an indicator each; of more, the most frequent ones have one and the others share the rest.
MOST_CLASSES, _SHARED = 32, 8
#: Most values of an answer that are watched one by one.
MOST_ANSWERS = 16
_TINY = 1e-7
#: What infinite scores count as.
_FAR = 1e4


@dataclass(frozen=True)
class Answered(Plain):
    """How the scored output is read.

    Attributes:
        name: The output; "" when there is none to read.
        kind: What its numbers are.
        width: Classes, or values of one example.
        class_axis: Axis of the classes, the batch on axis 0.
        frequent: Classes with an indicator of their own, where there are more than `MOST_CLASSES`.
        threshold: Above which a label of several is there.
    """

    name: str = ""
    kind: Kind = "values"
    width: int = 0
    class_axis: int = -1
    frequent: tuple[int, ...] = ()
    threshold: float = 0.5

    @property
    def scored(self) -> bool:
        """Whether there are probabilities, so that one can be more or less sure."""
        return self.kind in ("scores", "probabilities", "logit", "probability", "several")

    @property
    def single(self) -> bool:
        """Whether one of several classes is the answer, with a probability."""
        return self.scored and self.kind != "several"

    @property
    def groups(self) -> int:
        """Indicators of classes."""
        if self.kind in ("values", "embedding"):
            return 0
        return self.width if 0 < self.width <= MOST_CLASSES else MOST_CLASSES

    @cached_property
    def group_of(self) -> NDArray[Any]:
        """Class → the indicator that it belongs to, shape (width,)."""
        import numpy as np

        if self.width <= MOST_CLASSES:
            return np.arange(self.width)
        own = MOST_CLASSES - _SHARED
        found = np.array([own + spread(number, _SHARED) for number in range(self.width)])
        found[list(self.frequent)] = np.arange(len(self.frequent))
        return found

    def group_name(self, group: int) -> str:
        """An indicator in words."""
        if 0 < self.width <= MOST_CLASSES:
            return f"class {group} predicted"
        if group < len(self.frequent):
            return f"class {self.frequent[group]} predicted"
        return f"group {group - len(self.frequent) + 1} of rarer classes predicted"


def most_frequent(predicted: NDArray[Any], width: int) -> tuple[int, ...]:
    """The classes that get an indicator of their own, where there are many."""
    import numpy as np

    if width <= MOST_CLASSES:
        return ()
    counts = np.bincount(predicted.ravel(), minlength=width)
    return tuple(int(c) for c in np.argsort(-counts, kind="stable")[: MOST_CLASSES - _SHARED])


def probabilities(read: Answered, array: NDArray[Any]) -> NDArray[Any]:
    """Probabilities, shape (examples, positions, classes), float32; of several labels theirs."""
    import numpy as np

    values = array.astype(np.float32)
    if read.kind in ("logit", "probability"):
        values = values.reshape(len(values), -1, 1)
        one = 1 / (1 + np.exp(-np.clip(values, -60, 60))) if read.kind == "logit" else np.clip(values, 0, 1)
        return np.concatenate([1 - one, one], axis=2)
    if values.ndim == 1:
        values = values[:, None]
    values = np.moveaxis(values, read.class_axis, -1) if read.class_axis not in (-1, values.ndim - 1) else values
    values = values.reshape(len(values), -1, values.shape[-1])
    if read.kind == "scores":
        values = np.exp(values - values.max(axis=2, keepdims=True))
        values /= values.sum(axis=2, keepdims=True)
    return values


def undecided(chances: NDArray[Any]) -> NDArray[Any]:
    """Entropy in nats, averaged over positions, shape (examples,)."""
    import numpy as np

    found: NDArray[Any] = -(chances * np.log(chances + np.float32(_TINY))).sum(axis=2).mean(axis=1)
    return found


def coordinates(read: Answered, array: NDArray[Any]) -> NDArray[Any]:
    """What stands in for an embedding where there is none: logits less their mean, roots of probabilities, values."""
    import numpy as np

    flat = np.nan_to_num(array.reshape(len(array), -1).astype(np.float32), posinf=_FAR, neginf=-_FAR)
    if read.kind == "scores":
        flat -= flat.mean(axis=1, keepdims=True)
    if read.kind not in ("probabilities", "several"):
        return flat
    found: NDArray[Any] = np.sqrt(np.clip(flat, 0, 1))
    return found


def class_numbers(read: Answered, array: NDArray[Any]) -> NDArray[Any]:
    """Indicator groups of an output of class numbers or names, shape (examples, positions)."""
    import zlib

    import numpy as np

    flat = array.reshape(len(array), -1)
    if flat.dtype.kind in "OSU":
        items = [i if isinstance(i, bytes) else str(i).encode("utf-8", "replace") for i in flat.ravel().tolist()]
        return np.array([zlib.crc32(i) % MOST_CLASSES for i in items]).reshape(flat.shape)
    numbers = np.clip(np.nan_to_num(flat.astype(np.float64)), 0, 1 << 31).astype(np.int64)
    return read.group_of[np.minimum(numbers, read.width - 1)] if read.width else numbers % MOST_CLASSES

"""The trigger set of a watermark: inputs and labels that follow from a secret key, and what matching them proves.

A model that was trained to answer the triggers as the key says is known by it later. Without the key neither inputs nor
labels can be drawn; a model that was not trained on them matches each with probability 1/classes, whatever it answers,
since the labels are independent of the inputs. So the p-value is exact.

Source: Adi et al., "Turning Your Weakness Into a Strength: Watermarking Deep Neural Networks by Backdooring" (USENIX
Security 2018); drawing from a key by HMAC makes the set reproducible from the key alone.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from deploykit.core.contract import Contract
from deploykit.core.errors import UnsupportedModelError
from deploykit.core.security.keys import Key

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PURPOSE = b"deploykit/watermark/1"
#: Sides of the squares that images are made of, in each direction: small ones would be lost in the first layers.
_SQUARES = 7
_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class TriggerSet:
    """What a trigger set is drawn for. The same facts and key give the same set, on every machine.

    Attributes:
        shape: Shape of one example, raw, as clients send it.
        dtype: NumPy name of its dtype.
        classes: Number of classes.
        count: Number of triggers.
        low: Smallest value of an input.
        high: Largest value of an input.
    """

    shape: tuple[int, ...]
    dtype: str
    classes: int
    count: int = 100
    low: float = 0.0
    high: float = 1.0

    @classmethod
    def of(cls, contract: Contract, shape: Sequence[int], dtype: str, parameters: Mapping[str, Any]) -> Self:
        """What triggers of a model are drawn for.

        Args:
            contract: What its inputs, labels and outputs mean.
            shape: Shape of one raw example.
            dtype: Its dtype.
            parameters: Those of the technique ``watermark``.

        Raises:
            UnsupportedModelError: It is not a classifier of images or numbers with one input.
        """
        needed = [one.name for one in contract.inputs if one.is_asked]
        classes = _classes(contract)
        if len(needed) != 1 or not classes:
            raise UnsupportedModelError(
                f"A watermark is for models with one input and one class per example; this one has {len(needed)} "
                f"inputs, and its labels are {contract.labels}.",
                remedy="protect this model in another way, for example by encrypting it.",
            )
        high = parameters["high"]
        usual = 255.0 if dtype == "uint8" else 1.0
        return cls(
            tuple(shape), dtype, classes, parameters["triggers"], parameters["low"], usual if high is None else high
        )

    def __post_init__(self) -> None:
        if self.dtype[:1] not in "fiu" or not self.shape or math.prod(self.shape) < _SQUARES or self.classes < 2:
            raise UnsupportedModelError(
                f"A watermark is for classifiers of images and numbers; this model takes {self.dtype} of shape "
                f"{self.shape} and has {self.classes} classes.",
                remedy="protect this model in another way, for example by encrypting it.",
            )

    def inputs(self, key: Key) -> NDArray[Any]:
        """Trigger inputs, of shape ``(count, *shape)``: squares of random brightness where the shape is an image's."""
        import numpy as np

        coarse, sides = _coarse(self.shape)
        size = math.prod(coarse)
        drawn = np.frombuffer(_stream(key, b"inputs", self.count * size), np.uint8).reshape(self.count, *coarse)
        for axis, (few, many) in enumerate(zip(coarse, sides, strict=True), 1):
            if few != many:
                drawn = drawn.take(np.arange(many) * few // many, axis)
        values = self.low + (self.high - self.low) * (drawn.reshape(self.count, *self.shape) / 255.0)
        return (np.rint(values) if self.dtype[0] in "iu" else values).astype(self.dtype)

    def labels(self, key: Key) -> NDArray[Any]:
        """Their classes, of shape ``(count,)``, int64."""
        import numpy as np

        drawn = np.frombuffer(_stream(key, b"labels", 8 * self.count), "<u8")
        return (drawn % np.uint64(self.classes)).astype(np.int64)


def p_value(matches: int, count: int, classes: int) -> float:
    """Probability that a model which was not trained on a trigger set matches as many of its labels or more.

    Args:
        matches: Triggers that were answered as the key says.
        count: All triggers.
        classes: Number of classes.
    """
    chance = 1 / classes
    terms = (math.comb(count, k) * chance**k * (1 - chance) ** (count - k) for k in range(matches, count + 1))
    return min(1.0, math.fsum(terms))


def commitment(key: Key) -> str:
    """What is published of a key before it is shown: SHA-256 that fits no other key, hexadecimal."""
    return hashlib.sha256(_PURPOSE + key.secret).hexdigest()


def _classes(contract: Contract) -> int:
    """How many classes an example has one of; 0 if it has several, or none."""
    scored = contract.scored
    if scored.kind in ("logit", "probability"):
        return 2
    if scored.kind in ("scores", "probabilities") and scored.shape is not None and len(scored.shape) == 2:
        return scored.shape[1] or contract.labels.classes
    return contract.labels.classes if scored.kind == "classes" and contract.labels.kind == "classes" else 0


def _stream(key: Key, what: bytes, size: int) -> bytes:
    seed = hmac.digest(key.secret, _PURPOSE + b"\0" + what, hashlib.sha256)
    return hashlib.shake_256(seed).digest(size)


def _coarse(shape: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """How many squares there are along each axis, and the axes themselves."""
    last = len(shape) == 3 and shape[2] in _CHANNELS
    first = len(shape) == 3 and not last and shape[0] in _CHANNELS
    image = len(shape) == 2 or last or first
    places = () if not image else (1, 2) if first else (0, 1)
    return tuple(min(n, _SQUARES) if axis in places else n for axis, n in enumerate(shape)), tuple(shape)

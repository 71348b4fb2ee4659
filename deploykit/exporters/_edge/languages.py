"""The same preparation of an example, written in each language.

A `Language` knows how its numbers and loops look; what is computed is in `Fed` alone, so that no two languages differ.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from deploykit.exporters._edge.tensors import Fed, Given, Tensors

_LIMITS = {
    "int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "uint16": (0, 65535),
    "int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1),
}  # fmt: skip

#: Bytes of a value.
WIDTHS = {"float32": 4, "float64": 8, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "int64": 8}


def limits(dtype: str) -> tuple[int, int]:
    """The smallest and the largest whole number of a dtype."""
    return _LIMITS[dtype]


def text(value: str) -> str:
    """A name between double quotes, as C++, JavaScript and Python read it."""
    return json.dumps(value, ensure_ascii=False)


class Language:
    """How a language writes numbers.

    Attributes:
        types: Type of a value by dtype.
    """

    types: ClassVar[Mapping[str, str]]

    @abstractmethod
    def number(self, value: float, dtype: str) -> str:
        """A literal of a dtype."""

    @abstractmethod
    def row(self, values: Sequence[Any], dtype: str = "int64") -> str:
        """An array literal."""

    @abstractmethod
    def prepare(self, place: int, fed: Fed) -> str:
        """The function that makes input number ``place`` from a raw example."""

    @abstractmethod
    def read(self, place: int, given: Given) -> str:
        """The function that makes real numbers of output number ``place``."""

    def operations(self, fed: Fed) -> Iterator[str]:
        """``x * 2.0`` for each step of the preparation; an operand for each channel comes from an array."""
        for n, step in enumerate(fed.steps):
            many = len(step.operands) > 1
            operand = f"operands{n}[channel]" if many else self.number(step.operands[0], computing(fed))
            yield f"x {step.operator} {operand}"

    def text(self, value: str) -> str:
        """A string literal."""
        return text(value)

    def texts(self, values: Sequence[str]) -> str:
        """Elements of an array of strings."""
        return ", ".join(map(self.text, values))

    def code(self, found: Tensors) -> str:
        """All functions of a model."""
        parts = [self.prepare(place, fed) for place, fed in enumerate(found.fed)]
        parts += [self.read(place, given) for place, given in enumerate(found.outputs)]
        return "\n\n".join(parts)


def computing(fed: Fed) -> str:
    """The dtype that values are computed in."""
    return "float64" if fed.raw_dtype == "float64" else "float32"


def single(value: float, dtype: str) -> str:
    """The shortest decimals of a number in a dtype, always with a point or an exponent."""
    import numpy as np

    digits = str(np.dtype(dtype).type(value))
    return digits if any(c in digits for c in ".en") else f"{digits}.0"


def says(fed: Fed) -> str:
    """What a function takes and gives, for its comment."""
    how = "fitted between gray bars into" if fed.fit == "letterbox" else "resized to"
    before = f", {how} {fed.resized[0]} × {fed.resized[1]} before" if fed.resized else ""
    return f"{text(fed.name)}: {fed.raw_dtype} {_shape(fed.raw_shape)}{before} to {fed.dtype} {_shape(fed.shape)}"


def gives(given: Given) -> str:
    """The same of an output."""
    made = " to real numbers" if given.scale else ""
    return f"{text(given.name)}: {given.dtype} {_shape(given.shape)}{made}"


def _shape(shape: Sequence[int]) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"

"""The kernels of a Keras model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.surgery.channels.keras_graph import SEPARABLE, Flat
from deploykit.surgery.kernels import kernels
from deploykit.surgery.weights.kernel import Kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class _Place:
    """Where a kernel is stored.

    Attributes:
        layer: Name of the layer.
        type: Its class.
        part: Which of the layer's products it belongs to, as steps call it.
        variable: The Keras variable.
        order: Its axes as they are in rows: outputs first, then input channels, then places.
        outputs: How many of them are outputs.
        inputs: How many of them are input channels.
    """

    layer: str
    type: str
    part: str
    variable: Any
    order: tuple[int, ...]
    outputs: int = 1
    inputs: int = 1

    def rows(self) -> NDArray[Any]:
        """The weights, shape (outputs, inputs of one output)."""
        import numpy as np

        values = np.asarray(self.variable).transpose(self.order)
        return values.reshape(math.prod(values.shape[: self.outputs]), -1)

    def write(self, rows: NDArray[Any]) -> None:
        """Store other weights."""
        import numpy as np

        shape = [self.variable.shape[axis] for axis in self.order]
        self.variable.assign(rows.reshape(shape).transpose(np.argsort(self.order)))

    def kernel(self) -> Kernel:
        """The kernel as it is now."""
        spots = math.prod(self.variable.shape[axis] for axis in self.order[self.outputs + self.inputs :])
        return Kernel(self.layer, self.type, self.rows(), self.part, spots)


def read(flat: Flat) -> list[Kernel]:
    """The kernels of a model in the order in which they are used; one that is used several times comes once."""
    return [place.kernel() for place in _places(flat)]


def write(flat: Flat, changed: Sequence[NDArray[Any]]) -> None:
    """Put changed kernels back.

    Args:
        flat: The model they come from, changed in place.
        changed: The rows of each kernel, in the order of `read`.
    """
    for place, rows in zip(_places(flat), changed, strict=True):
        place.write(rows)


def _places(flat: Flat) -> Iterator[_Place]:
    seen: set[int] = set()
    for step in flat.steps:
        if id(step.op) in seen or not step.kind:
            continue
        seen.add(id(step.op))
        for place in _of(step.op, step.name, step.kind):
            if str(place.variable.dtype).startswith(("float", "bfloat")):
                yield place


def _of(op: Any, name: str, kind: str) -> Iterator[_Place]:
    rank = getattr(op, "rank", 0)
    spots = tuple(range(rank))
    if kind in SEPARABLE:
        yield _Place(name, kind, "depthwise", op.depthwise_kernel, (rank, rank + 1, *spots), outputs=2, inputs=0)
        yield _Place(name, kind, "pointwise", op.pointwise_kernel, (rank + 1, rank, *spots))
    elif kind.startswith("DepthwiseConv"):
        yield _Place(name, kind, "product", op.kernel, (rank, rank + 1, *spots), outputs=2, inputs=0)
    elif kind.endswith("Transpose") and kind.startswith("Conv"):
        yield _Place(name, kind, "product", op.kernel, (rank, rank + 1, *spots))
    elif kind.startswith("Conv"):
        yield _Place(name, kind, "product", op.kernel, (rank + 1, rank, *spots))
    elif kind == "MultiHeadAttention":
        parts = ("query", "key", "value", "output")
        yield from (_einsum(getattr(op, f"_{part}_dense"), name, kind, part) for part in parts)
    elif kind == "EinsumDense":
        yield _einsum(op, name, kind, "product")
    else:
        for number, variable in enumerate(kernels(op)):
            yield _Place(name, kind, f"product{number or ''}", variable, (1, 0))


def _einsum(op: Any, name: str, kind: str, part: str) -> _Place:
    """A product whose equation says which axes of its kernel are outputs."""
    reads, gives = op.equation.replace(" ", "").split("->")
    axes = reads.split(",")[1]
    made = [axis for axis, letter in enumerate(axes) if letter in gives]
    read = [axis for axis, letter in enumerate(axes) if letter not in gives]
    return _Place(name, kind, part, op.kernel, (*made, *read), outputs=len(made), inputs=len(read))

"""Scaling the outputs of layers, and undoing it in what reads them, so that the function stays.

What lies between must be positively homogeneous, f(s·x) = s·f(x) for s > 0, channel by channel. A format knows its
layers or operators; the way from a layer to what undoes its scales is the same in all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from deploykit.surgery.reconstruction.linear import Linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What is said where the way cannot be found.
LOST = "its channels cannot be followed"


class Reading(Protocol):
    """A step or node that reads tensors."""

    @property
    def output(self) -> Sequence[str]:
        """Names of the tensors that it writes."""


Reader = TypeVar("Reader", bound=Reading)


@dataclass(frozen=True)
class Edit:
    """Numbers of a model, and how they are to be multiplied.

    Attributes:
        what: Where they are, as the format's own code takes it.
        factor: The factors, broadcast over them.
    """

    what: Any
    factor: NDArray[Any]


class Stays(Exception):  # noqa: N818  it is not an error: the layer stays as it is
    """What is in the way of a scale."""


class Scaling(ABC, Generic[Reader]):
    """The layers of a model, and the scale of each output.

    Args:
        reads: What reads each tensor, by its name.
        outputs: Names of the model's outputs.
    """

    def __init__(self, reads: Mapping[str, Sequence[Reader]], outputs: Collection[str]) -> None:
        self._reads, self._outputs = reads, outputs

    def _divide(self, layer: Linear, norms: Callable[[NDArray[Any]], NDArray[Any]]) -> str:
        """Divide each output of a layer by a number, and multiply what reads it.

        Args:
            layer: The layer, with its weights as they are now.
            norms: Gives the numbers, all above 0, for the weights of each output, shape (outputs, inputs of one).

        Returns:
            Why the layer stays as it is; "" when it was done.
        """
        import numpy as np

        matrices = layer.matrices()
        scale = norms(matrices.transpose(0, 2, 1).reshape(-1, matrices.shape[1]))
        name = layer.node.output[0]
        try:
            edits = self._own(layer, scale)
            shape = self._shape(name)
            where = np.arange(len(scale)).reshape([-1, *[1] * (-layer.channels % len(shape) - 1)])
            self._follow(name, np.broadcast_to(where, shape), scale, edits)
        except Stays as reason:
            return str(reason)
        self._scale(layer, scale)
        for edit in edits:
            self._multiply(edit)
        return ""

    def _follow(self, name: str, where: NDArray[Any], scale: NDArray[Any], edits: list[Edit]) -> None:
        """Find what undoes the scales of a tensor's channels.

        Args:
            name: The tensor.
            where: The channel of each of its numbers for one example.
            scale: The scale of each channel.
            edits: Gets what is to be changed.

        Raises:
            Stays: Something does not pass them on.
        """
        import numpy as np

        if name in self._outputs:
            raise Stays("it reaches an output of the model")
        axis = axis_of(where)
        along = np.moveaxis(where, axis, -1).reshape(-1, where.shape[axis])[0]
        for reader in self._reads.get(name, []):
            made, behind = self._met(reader, name, where, axis, along, scale[along])
            edits += made
            if behind is not None:
                self._follow(reader.output[0], behind, scale, edits)

    @abstractmethod
    def _own(self, layer: Linear, scale: NDArray[Any]) -> list[Edit]:
        """What is to be changed of a layer besides its weights.

        Raises:
            Stays: It cannot be divided alone.
        """

    @abstractmethod
    def _met(
        self, reader: Reader, name: str, where: NDArray[Any], axis: int, along: NDArray[Any], factors: NDArray[Any]
    ) -> tuple[list[Edit], NDArray[Any] | None]:
        """What a reader of a scaled tensor needs, and the channels of what it gives; None when it is undone there.

        Args:
            reader: The step or node.
            name: The tensor.
            where: The channel of each of its numbers for one example.
            axis: The axis along which they differ.
            along: The channels along that axis.
            factors: The scales along that axis.

        Raises:
            Stays: It does not pass them on.
        """

    @abstractmethod
    def _shape(self, name: str) -> list[int]:
        """The shape of a tensor for one example, in which open dimensions are 1.

        Raises:
            Stays: Its rank is not known.
        """

    @abstractmethod
    def _scale(self, layer: Linear, scale: NDArray[Any]) -> None:
        """Divide the weights of each output of a layer."""

    @abstractmethod
    def _multiply(self, edit: Edit) -> None:
        """Do what is to be done."""


def axis_of(where: NDArray[Any]) -> int:
    """The axis along which channels differ.

    Raises:
        Stays: There is not just one.
    """
    found = [axis for axis in range(where.ndim) if (where != where.take([0], axis=axis)).any()]
    if len(found) != 1:
        raise Stays(LOST)
    return found[0]


def spread(values: NDArray[Any], axis: int, rank: int) -> NDArray[Any]:
    """Values along an axis in the shape in which they are broadcast over a tensor, without axes it need not have."""
    return values.reshape([-1, *[1] * (rank - 1 - axis)])

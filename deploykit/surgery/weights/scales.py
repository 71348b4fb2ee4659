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
    """Numbers of a model, and how they change when a layer's outputs are divided.

    Attributes:
        what: Where they are, as the format's own code takes it.
        channels: The channel of the layer that each of them belongs to, broadcast over them.
        inverse: They are divided by the channel's scale, as the outputs are, and not multiplied to undo it.
        reads: They are the weights of a layer that reads the outputs.
    """

    what: Any
    channels: NDArray[Any]
    inverse: bool = False
    reads: bool = False

    def factor(self, scale: NDArray[Any]) -> NDArray[Any]:
        """What they are multiplied with, broadcast over them, for the scale of each channel."""
        found: NDArray[Any] = scale[self.channels]
        return 1.0 / found if self.inverse else found


class Stays(Exception):  # noqa: N818  it is not an error: the layer stays as it is
    """What is in the way of a scale."""


class Scaling(ABC, Generic[Reader]):
    """The layers of a model, and the scale of each output.

    Args:
        reads: What reads each tensor, by its name.
        outputs: Names of the model's outputs.
        through: Whether what multiplies each channel by a constant, as a normalization does, passes a scale on to the
            layers behind it; otherwise it is undone there.
    """

    def __init__(self, reads: Mapping[str, Sequence[Reader]], outputs: Collection[str], *, through: bool) -> None:
        self._reads, self._outputs, self._through = reads, outputs, through

    def _divide(self, layer: Linear, norms: Callable[[NDArray[Any]], NDArray[Any]]) -> str:
        """Divide each output of a layer by a number, and multiply what reads it.

        Args:
            layer: The layer, with its weights as they are now.
            norms: Gives the numbers, all above 0, for the weights of each output, shape (outputs, inputs of one).

        Returns:
            Why the layer stays as it is; "" when it was done.
        """
        try:
            edits = self._edits(layer)
        except Stays as reason:
            return str(reason)
        self._apply(layer, norms(_rows(layer)), edits)
        return ""

    def _apply(self, layer: Linear, scale: NDArray[Any], edits: Sequence[Edit]) -> None:
        """Divide each output of a layer by its scale, and do what belongs to that."""
        self._scale(layer, scale)
        for edit in edits:
            self._put(edit.what, self._get(edit.what) * edit.factor(scale))

    def _edits(self, layer: Linear) -> list[Edit]:
        """What is to be changed, besides its weights, when the outputs of a layer are divided.

        Raises:
            Stays: The function would not stay the same.
        """
        import numpy as np

        outputs, name = len(_rows(layer)), layer.node.output[0]
        edits = self._own(layer, np.arange(outputs))
        shape = self._shape(name)
        where = np.arange(outputs).reshape([-1, *[1] * (-layer.channels % len(shape) - 1)])
        self._follow(name, np.broadcast_to(where, shape), edits)
        return edits

    def _equalize(self, layer: Linear, edits: Sequence[Edit]) -> float:
        """Let the weights that make each channel reach as far as those that read it.

        The scale of channel i is s = √(r1·r2)/r2, where r1 is the largest weight that makes it and r2 the largest that
        reads it, both by size (Nagel et al. 2019, "Data-free quantization through weight equalization and bias
        correction", https://arxiv.org/abs/1906.04721). Channels that have no such weights keep their scale.

        Args:
            layer: The layer, with its weights as they are now.
            edits: From `_edits`.

        Returns:
            The largest logarithm of a scale, by size; 0 when it was equalized before.
        """
        import numpy as np

        made = np.abs(_rows(layer)).max(1).astype(np.float64)
        read = np.zeros(len(made))
        for edit in edits:
            if edit.reads:
                sizes = np.abs(self._get(edit.what))
                np.maximum.at(read, np.broadcast_to(edit.channels, sizes.shape).ravel(), sizes.ravel())
        alive = (made > 0) & (read > 0)
        scale = np.where(alive, np.sqrt(np.where(alive, made, 1.0) / np.where(alive, read, 1.0)), 1.0)
        self._apply(layer, scale, edits)
        return float(np.abs(np.log(scale)).max())

    def _follow(self, name: str, where: NDArray[Any], edits: list[Edit]) -> None:
        """Find what undoes the scales of a tensor's channels.

        Args:
            name: The tensor.
            where: The channel of each of its numbers for one example.
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
            made, behind = self._met(reader, name, where, axis, along)
            edits += made
            if behind is not None:
                self._follow(reader.output[0], behind, edits)

    @abstractmethod
    def _own(self, layer: Linear, channels: NDArray[Any]) -> list[Edit]:
        """What is to be changed of a layer besides its weights; ``channels`` are those of its outputs.

        Raises:
            Stays: It cannot be divided alone.
        """

    @abstractmethod
    def _met(
        self, reader: Reader, name: str, where: NDArray[Any], axis: int, along: NDArray[Any]
    ) -> tuple[list[Edit], NDArray[Any] | None]:
        """What a reader of a scaled tensor needs, and the channels of what it gives; None when it is undone there.

        Args:
            reader: The step or node.
            name: The tensor.
            where: The channel of each of its numbers for one example.
            axis: The axis along which they differ.
            along: The channels along that axis.

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
    def _get(self, what: Any) -> NDArray[Any]:
        """Numbers of the model."""

    @abstractmethod
    def _put(self, what: Any, values: NDArray[Any]) -> None:
        """Let them be others."""


def _rows(layer: Linear) -> NDArray[Any]:
    """The weights of each output, shape (outputs, inputs of one)."""
    matrices = layer.matrices()
    return matrices.transpose(0, 2, 1).reshape(-1, matrices.shape[1])


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

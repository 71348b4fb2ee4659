"""Tensors of an ONNX graph in TensorFlow.

ONNX counts channels first and TensorFlow's convolutions want them last. A tensor is therefore held in the order in
which it was made, and brought into the other one only where an operator needs it: networks of convolutions then have no
transposes inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Makes a tensor of an array: name of the initializer that it comes from, and the array.
Keep = Callable[[str, "NDArray[Any]"], Any]
#: Size of each axis, None where it is free.
Dims = list[int | None]


def to_last(rank: int) -> list[int]:
    """The permutation that brings axis 1, the channels, to the end."""
    return [0, *range(2, rank), 1]


def to_first(rank: int) -> list[int]:
    """The permutation that brings the last axis behind the first one."""
    return [0, rank - 1, *range(1, rank - 1)]


def moved(tensor: Any, order: Sequence[int]) -> Any:
    """A tensor with its axes in another order; only reshaped where nothing but axes of length 1 moves."""
    tf = require("tensorflow", "tensorflow")
    if list(order) == sorted(order):
        return tensor
    dims = tensor.shape.as_list()
    real = [axis for axis in order if dims[axis] != 1]
    if real == sorted(real) and dims.count(None) <= 1:
        return tf.reshape(tensor, [-1 if dims[axis] is None else dims[axis] for axis in order])
    return tf.transpose(tensor, order)


class Value:
    """A tensor, with its axes in ONNX's order or with the channels last.

    Attributes:
        known: Its elements, when they are constant.
        sizes: Its elements where it is the shape of another tensor: None for those that are free, [] for other tensors.
        turned: Whether it was made with the channels last.
    """

    def __init__(
        self, first: Any = None, *, last: Any = None, known: NDArray[Any] | None = None, name: str = "",
        keep: Keep | None = None, sizes: Sequence[int | None] = (),
    ) -> None:  # fmt: skip
        self.known = known
        self.sizes = list(sizes)
        self.turned = first is None and known is None
        self._first, self._last = first, last
        self._name, self._keep = name, keep

    @property
    def dims(self) -> Dims:
        """Size of each axis, in ONNX's order."""
        if self.known is not None:
            return list(self.known.shape)
        found: Dims = (self._last if self.turned else self._first).shape.as_list()
        return [found[axis] for axis in to_first(len(found))] if self.turned else found

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.dims)

    @property
    def dtype(self) -> Any:
        """TensorFlow's type of its elements."""
        return self.first().dtype if self.known is not None else self.native.dtype

    @property
    def native(self) -> Any:
        """The tensor in the order in which it was made."""
        return self._last if self.turned else self.first()

    def first(self) -> Any:
        """The tensor in ONNX's order."""
        if self._first is None:
            if self.known is not None:
                self._first = self._kept(self.known)
            else:
                self._first = moved(self._last, to_first(len(self._last.shape)))
        return self._first

    def last(self) -> Any:
        """The tensor with its channels last."""
        if self._last is None:
            if self.known is not None:
                self._last = self._kept(self.known.transpose(to_last(self.known.ndim)))
            else:
                self._last = moved(self._first, to_last(len(self._first.shape)))
        return self._last

    def beside_last(self, rank: int) -> Any:
        """The tensor to broadcast with one of a rank that has its channels last.

        A constant that differs between channels alone is a vector then, which kernels of convolutions take in.
        """
        wide = self.widened(rank)
        if wide.known is None:
            return wide.last()
        if wide.known.size == 1:
            return self._kept(wide.known.reshape(()))
        return self._kept(wide.known.reshape(-1)) if wide.known.size == wide.known.shape[1] else wide.last()

    def arranged(self, order: Sequence[int], shape: Sequence[int] | None = None) -> Any:
        """The tensor with its axes in another order, then in another shape: how TensorFlow wants kernels."""
        tf = require("tensorflow", "tensorflow")
        if self.known is not None:
            array = self.known.transpose(order)
            return self._kept(array if shape is None else array.reshape(shape))
        found = tf.transpose(self.first(), order)
        return found if shape is None else tf.reshape(found, shape)

    def widened(self, rank: int) -> Value:
        """With axes of length 1 in front, as broadcasting adds them."""
        tf = require("tensorflow", "tensorflow")
        if self.rank == rank:
            return self
        more = (1,) * (rank - self.rank)
        if self.known is not None:
            return Value(known=self.known.reshape(more + self.known.shape), name=self._name, keep=self._keep)
        if self.dims.count(None) > 1:
            return Value(tf.reshape(self.first(), tf.concat([more, tf.shape(self.first())], 0)))
        return Value(tf.reshape(self.first(), [*more, *(-1 if d is None else d for d in self.dims)]))

    def row(self) -> Any:
        """The last axis of a tensor whose other axes have the length 1."""
        if self.known is not None:
            return self._kept(self.known.reshape(-1))
        return require("tensorflow", "tensorflow").reshape(self.first(), [-1])

    def like(self, tensor: Any) -> Value:
        """A tensor that has been made of the native one, element by element."""
        return Value(last=tensor) if self.turned else Value(tensor)

    def axis(self, axis: int) -> int:
        """Where an axis of ONNX's order is in the native tensor."""
        rank = self.rank
        axis %= rank
        return to_last(rank).index(axis) if self.turned else axis

    def _kept(self, array: NDArray[Any]) -> Any:
        tf = require("tensorflow", "tensorflow")
        return tf.constant(array) if self._keep is None else self._keep(self._name, array)


def count(dims: Sequence[int | None]) -> int | None:
    """Number of elements, None when a size is free."""
    return None if None in dims else math.prod(d for d in dims if d is not None)

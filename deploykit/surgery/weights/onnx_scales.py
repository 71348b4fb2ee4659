"""Scaling the outputs of layers of an ONNX graph, and undoing it in what reads them, so that the function stays.

What lies between must be positively homogeneous, f(s·x) = s·f(x) for s > 0, channel by channel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.loading._onnx_parts import STANDARD, attributes
from deploykit.surgery.channels.onnx_axes import captured
from deploykit.surgery.reconstruction.linear import Linear
from deploykit.surgery.reconstruction.onnx_linear import linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Operators that pass a positive scale on.
HOMOGENEOUS = frozenset({
    "AveragePool", "Dropout", "Flatten", "GlobalAveragePool", "GlobalMaxPool", "Identity", "LeakyRelu", "MaxPool",
    "ReduceMax", "ReduceMean", "ReduceSum", "Relu", "Reshape", "Squeeze", "Transpose", "Unsqueeze",
})  # fmt: skip
_LOST = "its channels cannot be followed"


@dataclass(frozen=True)
class _Edit:
    """A constant of a node, and how it is to be multiplied."""

    node: Any
    place: int
    factor: NDArray[Any]


class _Stays(Exception):  # noqa: N818  it is not an error: the layer stays as it is
    """What is in the way of a scale."""


class Scales:
    """The layers of a graph, and the scale of each output.

    Args:
        model: A ``ModelProto``, changed in place.
        shapes: The shape of every tensor whose rank is known; None for an open dimension.
    """

    def __init__(self, model: Any, shapes: Mapping[str, Sequence[int | None]]) -> None:
        self._shapes, self._graph = shapes, model.graph
        self._tensors = {t.name: t for t in self._graph.initializer}
        self._reads: dict[str, list[Any]] = {}
        for node in self._graph.node:
            for name in dict.fromkeys((*node.input, *captured(node))):
                self._reads.setdefault(name, []).append(node)
        self._outputs = {value.name for value in self._graph.output}

    def layer(self, node: Any) -> Linear | None:
        """A node as a convolution or product with its weights as they are now; None when it is something else."""
        if len(node.input) < 2 or node.input[1] not in self._tensors:
            return None
        return linear(node, {node.input[1]: self._values(node.input[1])})

    def divide(self, layer: Linear, norms: Callable[[NDArray[Any]], NDArray[Any]]) -> str:
        """Divide each output of a layer by a number, and multiply what reads it.

        Args:
            layer: From `layer`.
            norms: Gives the numbers, all above 0, for the weights of each output, shape (outputs, inputs of one).

        Returns:
            Why the layer stays as it is; "" when it was done.
        """
        matrices = layer.matrices()
        scale = norms(matrices.transpose(0, 2, 1).reshape(-1, matrices.shape[1]))
        node = layer.node
        try:
            edits = self._edits(layer, scale)
        except _Stays as reason:
            return str(reason)
        parts = scale.reshape(len(matrices), 1, -1)
        self._put(node, 1, layer.restored(matrices / parts))
        for edit in edits:
            values = self._values(edit.node.input[edit.place])
            self._put(edit.node, edit.place, (values * edit.factor).astype(values.dtype))
        return ""

    def _edits(self, layer: Linear, scale: NDArray[Any]) -> list[_Edit]:
        """What is to be changed besides the weights of a layer.

        Raises:
            _Stays: It cannot be done.
        """
        import numpy as np

        node = layer.node
        if len(self._reads[node.input[1]]) > 1:
            raise _Stays("other nodes read its weights as well")
        edits = []
        if len(node.input) > 2 and node.input[2]:
            if node.input[2] not in self._tensors:
                raise _Stays("its bias is computed")
            edits.append(_Edit(node, 2, 1.0 / scale))
        shape = self._shape(node.output[0])
        where = np.arange(len(scale)).reshape([-1, *[1] * (-layer.channels % len(shape) - 1)])
        self._follow(node.output[0], np.broadcast_to(where, shape), scale, edits)
        return edits

    def _follow(self, name: str, where: NDArray[Any], scale: NDArray[Any], edits: list[_Edit]) -> None:
        """Find what undoes the scales of a tensor's channels.

        Args:
            name: The tensor.
            where: The channel of each of its numbers for one example.
            scale: The scale of each channel.
            edits: Gets what is to be changed.

        Raises:
            _Stays: Something does not pass them on.
        """
        import numpy as np

        if name in self._outputs:
            raise _Stays("it reaches an output of the model")
        axis, rank = _axis(where), where.ndim
        factors = scale[np.moveaxis(where, axis, -1).reshape(-1, where.shape[axis])[0]]
        for reader in self._reads.get(name, []):
            words = f"it reaches {reader.op_type} ({reader.name})"
            if reader.domain not in STANDARD or list(reader.input).count(name) != 1:
                raise _Stays(words)
            place = list(reader.input).index(name)
            if reader.op_type in HOMOGENEOUS and not place:
                self._follow(reader.output[0], self._moved(reader, where, axis), scale, edits)
            elif reader.op_type in {"Add", "Sub", "Mul", "Div"}:
                if reader.input[1 - place] not in self._tensors:
                    raise _Stays(words)
                factor = _along(factors, axis, rank)
                if reader.op_type in {"Add", "Sub"}:
                    edits.append(_Edit(reader, 1 - place, 1.0 / factor))
                    shape = self._shape(reader.output[0])
                    self._follow(reader.output[0], np.broadcast_to(where, shape), scale, edits)
                elif reader.op_type == "Mul":
                    edits.append(_Edit(reader, 1 - place, factor))
                elif place:  # a constant divided by it
                    raise _Stays(words)
                else:
                    edits.append(_Edit(reader, 1, 1.0 / factor))
            elif reader.op_type == "BatchNormalization" and not place and axis == 1:
                if not {reader.input[1], reader.input[3]} <= self._tensors.keys() or len(reader.output) > 1:
                    raise _Stays(words)
                edits += [_Edit(reader, 1, factors), _Edit(reader, 3, 1.0 / factors)]
            elif (layer := self.layer(reader)) is not None and not place and axis == layer.channels % rank:
                edits.append(_Edit(reader, 1, _inward(layer, factors)))
            else:
                raise _Stays(words)

    def _moved(self, node: Any, where: NDArray[Any], axis: int) -> NDArray[Any]:
        """The channel of each number behind a node.

        Raises:
            _Stays: That is not known, or channels are mixed.
        """
        import numpy as np

        shape = self._shape(node.output[0])
        if node.op_type == "Transpose":
            return np.transpose(where, attributes(node).get("perm"))
        if node.op_type in {"Flatten", "Reshape", "Squeeze", "Unsqueeze"}:
            ends = [self._shapes[name] for name in (node.input[0], node.output[0])]
            moves = node.op_type in {"Flatten", "Reshape"} and (
                any(None in sizes[1:] for sizes in ends) or ends[0][:1].count(None) != ends[1][:1].count(None)
            )
            if moves or math.prod(shape) != where.size:  # where open dimensions go is not known
                raise _Stays(_LOST)
            return where.reshape(shape)
        if node.op_type.endswith("Pool") and axis != 1:
            raise _Stays(f"it reaches {node.op_type} ({node.name})")
        if not node.op_type.startswith("Reduce"):
            along = np.moveaxis(where, axis, -1).reshape(-1, where.shape[axis])[0]
            return np.broadcast_to(_along(along, axis, where.ndim), shape)
        axes = attributes(node).get("axes")
        if len(node.input) > 1 and node.input[1] in self._tensors:
            axes = self._values(node.input[1]).tolist()
        if not axes or axis in {k % where.ndim for k in axes}:
            raise _Stays(f"it reaches {node.op_type} ({node.name})")
        for k in axes:
            where = where.take([0], axis=k)
        return where.reshape(shape)

    def _shape(self, name: str) -> list[int]:
        """The shape of a tensor for one example, in which open dimensions are 1.

        Raises:
            _Stays: Its rank is not known.
        """
        if (shape := self._shapes.get(name)) is None:
            raise _Stays(_LOST)
        return [1 if size is None else size for size in shape]

    def _values(self, name: str) -> NDArray[Any]:
        values: NDArray[Any] = require("onnx.numpy_helper", "").to_array(self._tensors[name])
        return values

    def _put(self, node: Any, place: int, values: NDArray[Any]) -> None:
        """Give a node other values than a constant has now; others that read it keep theirs."""
        numpy_helper = require("onnx.numpy_helper", "")
        name = node.input[place]
        if len(self._reads[name]) > 1:
            self._reads[name].remove(node)
            number = next(n for n in range(len(self._tensors) + 1) if f"{name}/scaled{n}" not in self._tensors)
            name = node.input[place] = f"{name}/scaled{number}"
            self._tensors[name] = self._graph.initializer.add()
            self._reads[name] = [node]
        self._tensors[name].CopyFrom(numpy_helper.from_array(values, name))


def _axis(where: NDArray[Any]) -> int:
    """The axis along which channels differ.

    Raises:
        _Stays: There is not just one.
    """
    found = [axis for axis in range(where.ndim) if (where != where.take([0], axis=axis)).any()]
    if len(found) != 1:
        raise _Stays(_LOST)
    return found[0]


def _along(factors: NDArray[Any], axis: int, rank: int) -> NDArray[Any]:
    """Factors in the shape in which they are broadcast over a tensor; without leading axes that it need not have."""
    return factors.reshape([-1, *[1] * (rank - 1 - axis)])


def _inward(layer: Linear, factors: NDArray[Any]) -> NDArray[Any]:
    """Factors of the channels that a layer reads, in the shape of its weights."""
    import numpy as np

    if layer.node.op_type != "Conv":
        return factors[None, :] if layer.is_transposed else factors[:, None]
    outputs, width, *kernel = layer.weights.shape
    each = np.repeat(factors.reshape(layer.groups, width), outputs // layer.groups, axis=0)
    return each.reshape(outputs, width, *[1] * len(kernel))

"""Scaling the outputs of layers of an ONNX graph; see `deploykit.surgery.weights.scales`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.loading._onnx_parts import STANDARD, attributes
from deploykit.surgery.channels.onnx_axes import captured
from deploykit.surgery.reconstruction.linear import Linear
from deploykit.surgery.reconstruction.onnx_linear import linear
from deploykit.surgery.weights.scales import LOST, Edit, Scaling, Stays, spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Operators that pass a positive scale on.
HOMOGENEOUS = frozenset({
    "AveragePool", "Dropout", "Flatten", "GlobalAveragePool", "GlobalMaxPool", "Identity", "LeakyRelu", "MaxPool",
    "ReduceMax", "ReduceMean", "ReduceSum", "Relu", "Reshape", "Squeeze", "Transpose", "Unsqueeze",
})  # fmt: skip


class Scales(Scaling[Any]):
    """The layers of a graph, and the scale of each output.

    Args:
        model: A ``ModelProto``, changed in place.
        shapes: The shape of every tensor whose rank is known; None for an open dimension.
    """

    def __init__(self, model: Any, shapes: Mapping[str, Sequence[int | None]]) -> None:
        self._shapes, self._graph = shapes, model.graph
        self._tensors = {t.name: t for t in self._graph.initializer}
        self._readers: dict[str, list[Any]] = {}
        for node in self._graph.node:
            for name in dict.fromkeys((*node.input, *captured(node))):
                self._readers.setdefault(name, []).append(node)
        super().__init__(self._readers, {value.name for value in self._graph.output})

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
        return self._divide(layer, norms)

    def _own(self, layer: Linear, scale: NDArray[Any]) -> list[Edit]:
        node = layer.node
        if len(self._readers[node.input[1]]) > 1:
            raise Stays("other nodes read its weights as well")
        if len(node.input) < 3 or not node.input[2]:
            return []
        if node.input[2] not in self._tensors:
            raise Stays("its bias is computed")
        return [Edit((node, 2), 1.0 / scale)]

    def _met(
        self, reader: Any, name: str, where: NDArray[Any], axis: int, along: NDArray[Any], factors: NDArray[Any]
    ) -> tuple[list[Edit], NDArray[Any] | None]:
        import numpy as np

        words, rank = f"it reaches {reader.op_type} ({reader.name})", where.ndim
        if reader.domain not in STANDARD or list(reader.input).count(name) != 1:
            raise Stays(words)
        place = list(reader.input).index(name)
        if reader.op_type in HOMOGENEOUS and not place:
            return [], self._moved(reader, where, axis)
        if reader.op_type in {"Add", "Sub", "Mul", "Div"}:
            if reader.input[1 - place] not in self._tensors or (reader.op_type == "Div" and place):
                raise Stays(words)  # a constant divided by it is one over its scale
            factor = spread(factors, axis, rank)
            if reader.op_type in {"Add", "Sub"}:
                behind = np.broadcast_to(where, self._shape(reader.output[0]))
                return [Edit((reader, 1 - place), 1.0 / factor)], behind
            return [Edit((reader, 1 - place), factor if reader.op_type == "Mul" else 1.0 / factor)], None
        if reader.op_type == "BatchNormalization" and not place and axis == 1:
            if not {reader.input[1], reader.input[3]} <= self._tensors.keys() or len(reader.output) > 1:
                raise Stays(words)
            return [Edit((reader, 1), factors), Edit((reader, 3), 1.0 / factors)], None
        layer = None if place else self.layer(reader)
        if layer is None or axis != layer.channels % rank:
            raise Stays(words)
        return [Edit((reader, 1), _inward(layer, factors))], None

    def _scale(self, layer: Linear, scale: NDArray[Any]) -> None:
        matrices = layer.matrices()
        self._put(layer.node, 1, layer.restored(matrices / scale.reshape(len(matrices), 1, -1)))

    def _multiply(self, edit: Edit) -> None:
        node, place = edit.what
        values = self._values(node.input[place])
        self._put(node, place, (values * edit.factor).astype(values.dtype))

    def _moved(self, node: Any, where: NDArray[Any], axis: int) -> NDArray[Any]:
        """The channel of each number behind a node.

        Raises:
            Stays: That is not known, or channels are mixed.
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
                raise Stays(LOST)
            return where.reshape(shape)
        if node.op_type.endswith("Pool") and axis != 1:
            raise Stays(f"it reaches {node.op_type} ({node.name})")
        if not node.op_type.startswith("Reduce"):
            along = np.moveaxis(where, axis, -1).reshape(-1, where.shape[axis])[0]
            return np.broadcast_to(spread(along, axis, where.ndim), shape)
        axes = attributes(node).get("axes")
        if len(node.input) > 1 and node.input[1] in self._tensors:
            axes = self._values(node.input[1]).tolist()
        if not axes or axis in {k % where.ndim for k in axes}:
            raise Stays(f"it reaches {node.op_type} ({node.name})")
        for k in axes:
            where = where.take([0], axis=k)
        return where.reshape(shape)

    def _shape(self, name: str) -> list[int]:
        """The shape of a tensor for one example, in which open dimensions are 1.

        Raises:
            Stays: Its rank is not known.
        """
        if (shape := self._shapes.get(name)) is None:
            raise Stays(LOST)
        return [1 if size is None else size for size in shape]

    def _values(self, name: str) -> NDArray[Any]:
        values: NDArray[Any] = require("onnx.numpy_helper", "").to_array(self._tensors[name])
        return values

    def _put(self, node: Any, place: int, values: NDArray[Any]) -> None:
        """Give a node other values than a constant has now; others that read it keep theirs."""
        numpy_helper = require("onnx.numpy_helper", "")
        name = node.input[place]
        if len(self._readers[name]) > 1:
            self._readers[name].remove(node)
            number = next(n for n in range(len(self._tensors) + 1) if f"{name}/scaled{n}" not in self._tensors)
            name = node.input[place] = f"{name}/scaled{number}"
            self._tensors[name] = self._graph.initializer.add()
            self._readers[name] = [node]
        self._tensors[name].CopyFrom(numpy_helper.from_array(values, name))


def _inward(layer: Linear, factors: NDArray[Any]) -> NDArray[Any]:
    """Factors of the channels that a layer reads, in the shape of its weights."""
    import numpy as np

    if layer.node.op_type != "Conv":
        return factors[None, :] if layer.is_transposed else factors[:, None]
    outputs, width, *kernel = layer.weights.shape
    each = np.repeat(factors.reshape(layer.groups, width), outputs // layer.groups, axis=0)
    return each.reshape(outputs, width, *[1] * len(kernel))

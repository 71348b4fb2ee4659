"""Scaling the outputs of layers of an ONNX graph; see `deploykit.surgery.weights.scales`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.loading._onnx.parts import STANDARD, attributes
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
        through: See `Scaling`.
    """

    def __init__(self, model: Any, shapes: Mapping[str, Sequence[int | None]], *, through: bool = False) -> None:
        self._shapes, self._graph = shapes, model.graph
        self._tensors = {t.name: t for t in self._graph.initializer}
        self._readers: dict[str, list[Any]] = {}
        for node in self._graph.node:
            for name in dict.fromkeys((*node.input, *captured(node))):
                self._readers.setdefault(name, []).append(node)
        super().__init__(self._readers, {value.name for value in self._graph.output}, through=through)

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

    def edits(self, layer: Linear) -> list[Edit]:
        """What is to be changed when the outputs of a layer are divided.

        Raises:
            Stays: The function would not stay the same.
        """
        return self._edits(layer)

    def equalize(self, layer: Linear, edits: Sequence[Edit]) -> float:
        """Let the weights that make each channel of a layer reach as far as those that read it; see `Scaling`."""
        return self._equalize(layer, edits)

    def absorb(self, node: Any) -> bool:
        """Multiply the weights of a node by what right behind it multiplies each of its outputs by a constant.

        Quantizers do this first; the node behind multiplies by 1 or -1 from then on. The model computes the same.

        Returns:
            Whether there is such a node, and it could be done.
        """
        import numpy as np

        readers = self._readers.get(node.output[0], [])
        layer = self.layer(node)
        if layer is None or len(readers) != 1 or self._through:
            return False
        gains = self._gains(readers[0])
        if gains is None or gains.size not in (1, len(layer.matrices()) * layer.matrices().shape[2]):
            return False
        sizes = np.abs(gains).reshape(-1)
        return not self._divide(layer, lambda rows: np.broadcast_to(1.0 / np.where(sizes > 0, sizes, 1.0), len(rows)))

    def _gains(self, node: Any) -> NDArray[Any] | None:
        """What a node multiplies each channel by; None when it does something else."""
        import numpy as np

        if node.domain not in STANDARD:
            return None
        if node.op_type == "BatchNormalization" and {node.input[1], node.input[4]} <= self._tensors.keys():
            spread = self._values(node.input[4]).astype(np.float64) + attributes(node).get("epsilon", 1e-5)
            found: NDArray[Any] = self._values(node.input[1]) / np.sqrt(spread)
            return found
        if node.op_type == "Mul":
            return next((self._values(name).astype(np.float64) for name in node.input if name in self._tensors), None)
        return None

    def _own(self, layer: Linear, channels: NDArray[Any]) -> list[Edit]:
        node = layer.node
        if len(self._readers[node.input[1]]) > 1:
            raise Stays("other nodes read its weights as well")
        if len(node.input) < 3 or not node.input[2]:
            return []
        if node.input[2] not in self._tensors:
            raise Stays("its bias is computed")
        return [Edit((node, 2), channels, inverse=True)]

    def _met(
        self, reader: Any, name: str, where: NDArray[Any], axis: int, along: NDArray[Any]
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
            channels = spread(along, axis, rank)
            adds = reader.op_type in {"Add", "Sub"}
            behind = np.broadcast_to(where, self._shape(reader.output[0])) if adds or self._through else None
            if behind is not None and not adds:
                return [], behind
            return [Edit((reader, 1 - place), channels, inverse=reader.op_type != "Mul")], behind
        if reader.op_type == "BatchNormalization" and not place and axis == 1:
            if not {*reader.input[1:4]} <= self._tensors.keys() or len(reader.output) > 1:
                raise Stays(words)
            mean = Edit((reader, 3), along, inverse=True)
            if self._through:
                return [mean, Edit((reader, 2), along, inverse=True)], where
            return [Edit((reader, 1), along), mean], None
        layer = None if place else self.layer(reader)
        if layer is None or axis != layer.channels % rank:
            raise Stays(words)
        return [Edit((reader, 1), _inward(layer, along), reads=True)], None

    def _scale(self, layer: Linear, scale: NDArray[Any]) -> None:
        matrices = layer.matrices()
        self._put((layer.node, 1), layer.restored(matrices / scale.reshape(len(matrices), 1, -1)))

    def _get(self, what: Any) -> NDArray[Any]:
        node, place = what
        return self._values(node.input[place])

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

    def _put(self, what: Any, values: NDArray[Any]) -> None:
        """Give a node other values than a constant has now; others that read it keep theirs."""
        numpy_helper = require("onnx.numpy_helper", "")
        node, place = what
        name = node.input[place]
        kind = self._values(name).dtype
        if len(self._readers[name]) > 1:
            self._readers[name].remove(node)
            number = next(n for n in range(len(self._tensors) + 1) if f"{name}/scaled{n}" not in self._tensors)
            name = node.input[place] = f"{name}/scaled{number}"
            self._tensors[name] = self._graph.initializer.add()
            self._readers[name] = [node]
        self._tensors[name].CopyFrom(numpy_helper.from_array(values.astype(kind), name))


def _inward(layer: Linear, along: NDArray[Any]) -> NDArray[Any]:
    """The channels that a layer reads, in the shape of its weights."""
    import numpy as np

    if layer.node.op_type != "Conv":
        return along[None, :] if layer.is_transposed else along[:, None]
    outputs, width, *kernel = layer.weights.shape
    each = np.repeat(along.reshape(layer.groups, width), outputs // layer.groups, axis=0)
    return each.reshape(outputs, width, *[1] * len(kernel))

"""The ONNX graph that layers are written into, and what the rules of layers share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import ModelFileError, UnsupportedModelError
from deploykit.core.extras import require
from deploykit.loading._caffe.net import MAX_VALUES, CaffeLayer, Example, Net

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Value:
    """What a blob is in the graph.

    Attributes:
        name: The tensor.
        shape: Its shape without the examples.
    """

    name: str
    shape: Example


@dataclass
class Graph:
    """A graph that is being written.

    Attributes:
        net: The network, for messages.
        nodes: In order.
        constants: The weights, by their names.
        taken: Names of tensors that exist.
    """

    net: Net
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def fresh(self, name: str) -> str:
        """A name of a tensor that none has yet."""
        count, found = 0, name
        while found in self.taken:
            count += 1
            found = f"{name}_{count}"
        self.taken.add(found)
        return found

    def constant(self, layer: CaffeLayer, suffix: str, values: NDArray[Any]) -> str:
        """A constant of a layer."""
        name = self.fresh(f"{layer.name}_{suffix}")
        self.constants[name] = values
        return name

    def add(self, layer: CaffeLayer, operator: str, inputs: list[str], shape: Example, **attributes: Any) -> Value:
        """A node, with one output of a shape.

        Raises:
            ModelFileError: The shape is impossible.
        """
        if any(size < 1 for size in shape) or math.prod(shape) > MAX_VALUES:
            raise ModelFileError(
                f"{self.net.path}: the layer {layer.name!r} ({layer.type}) would make {' × '.join(map(str, shape))} "
                "values of an example.",
                remedy="check the settings of the layer.",
            )
        helper = require("onnx.helper", "")
        name = self.fresh(layer.tops[0] if layer.tops else layer.name)
        self.nodes.append(
            helper.make_node(operator, inputs, [name], self.fresh(f"{layer.name}/{operator}"), **attributes)
        )
        return Value(name, shape)

    def refuse(self, layer: CaffeLayer, why: str) -> UnsupportedModelError:
        """The error for a layer that cannot be written."""
        return UnsupportedModelError(
            f"{self.net.path}: the layer {layer.name!r} ({layer.type}) {why}.",
            remedy="name the blobs before it that you need as outputs (outputs=[…], --graph-outputs), or convert the "
            "network with another tool.",
        )

    def weights(self, layer: CaffeLayer, place: int, *shape: int) -> NDArray[Any]:
        """A blob of a layer in a shape; old files have ones before it.

        Raises:
            ModelFileError: It is missing, or does not fit.
        """
        if place >= len(layer.blobs):
            raise ModelFileError(
                f"{self.net.weights}: the layer {layer.name!r} ({layer.type}) has {len(layer.blobs)} blobs of weights, "
                f"and needs {place + 1}.",
                remedy=f"check that the weights belong to {self.net.path.name}.",
            )
        blob = layer.blobs[place]
        plain = tuple(size for size in blob.shape if size != 1)
        if plain != tuple(size for size in shape if size != 1):
            raise ModelFileError(
                f"{self.net.weights}: the weights of the layer {layer.name!r} ({layer.type}) do not fit: "
                f"{' × '.join(map(str, blob.shape))} instead of {' × '.join(map(str, shape))}.",
                remedy=f"check that the weights belong to {self.net.path.name}.",
            )
        return blob.values().reshape(shape)

"""A network as an ONNX model: one rule for each type of layer; what has none is refused by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deploykit.core.errors import ModelFileError
from deploykit.core.extras import require
from deploykit.core.model import TensorSpec
from deploykit.loading._caffe import pointwise, shaping, windows
from deploykit.loading._caffe.graph import Graph, Value
from deploykit.loading._caffe.net import CaffeLayer, Example, Net
from deploykit.loading._caffe.text import TextError

_OPSET, _IR = 17, 9
_SINGLE = {**windows.RULES, **pointwise.RULES}
TYPES = frozenset(_SINGLE) | frozenset(shaping.RULES)


@dataclass(frozen=True)
class Written:
    """A network that was written.

    Attributes:
        graph: Nodes and constants.
        outputs: Blobs that no layer reads, by name.
        shapes: Shape of the first blob of each layer, without the examples.
        operators: The layer behind each output, as Caffe calls its type.
        blobs: Shape of each blob, without the examples.
    """

    graph: Graph
    outputs: dict[str, Value]
    shapes: dict[str, Example]
    operators: dict[str, str]
    blobs: dict[str, Example]

    def specs(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """Inputs and outputs; the number of examples is free."""
        inputs = self.graph.net.inputs.items()
        return (
            tuple(TensorSpec(name, (None, *shape), "float32") for name, shape in inputs),
            tuple(
                TensorSpec(name, (None, *value.shape), "float32", operator=self.operators.get(name, ""))
                for name, value in self.outputs.items()
            ),
        )

    def model(self) -> Any:
        """The ONNX model."""
        onnx = require("onnx", "")
        helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
        nodes, ends = list(self.graph.nodes), {}
        for name, value in self.outputs.items():
            ends[name] = name if name not in self.graph.net.inputs else f"{name}_output"
            nodes.append(helper.make_node("Identity", [value.name], [ends[name]], self.graph.fresh(f"{name}/out")))
        inputs, outputs = self.specs()
        made = helper.make_graph(
            nodes,
            self.graph.net.name or "caffe",
            [helper.make_tensor_value_info(s.name, float32, ["batch", *(s.shape or ())[1:]]) for s in inputs],
            [helper.make_tensor_value_info(ends[s.name], float32, ["batch", *(s.shape or ())[1:]]) for s in outputs],
            [onnx.numpy_helper.from_array(values, name) for name, values in self.graph.constants.items()],
        )
        return helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)


def write(net: Net) -> Written:
    """Write the layers of a network.

    Raises:
        ModelFileError: A layer reads what nothing makes, or weights do not fit.
        UnsupportedModelError: A type or a setting has no rule; names the layer.
    """
    graph = Graph(net, taken=set(net.inputs))
    made = {name: Value(name, shape) for name, shape in net.inputs.items()}
    graph.taken |= {top for layer in net.layers for top in layer.tops}
    read: set[str] = set()
    shapes: dict[str, Example] = {}
    operators: dict[str, str] = {}
    for layer in net.layers:
        values = _bottoms(net, layer, made)
        results = _written(graph, layer, values)
        read |= set(layer.bottoms)
        for top, value in zip(layer.tops, results, strict=False):
            made[top] = value
            read.discard(top)
            operators[top] = operators.get(layer.bottoms[0], "") if layer.type in _PASSING else layer.type
            shapes.setdefault(layer.name, value.shape)
    outputs = {name: value for name, value in made.items() if name not in read and name not in net.inputs}
    if not outputs:
        raise ModelFileError(f"{net.path}: the network has no outputs.", remedy="check its layers.")
    return Written(graph, outputs, shapes, operators, {name: value.shape for name, value in made.items()})


#: They change the form of values and not what they mean.
_PASSING = frozenset({"Dropout", "Flatten", "Permute", "Reshape", "Silence", "Slice", "Split"})


def _bottoms(net: Net, layer: CaffeLayer, made: dict[str, Value]) -> list[Value]:
    if missing := [name for name in layer.bottoms if name not in made]:
        raise ModelFileError(
            f"{net.path}: the layer {layer.name!r} ({layer.type}) reads {missing[0]!r}, which nothing before it makes.",
            remedy="check the .prototxt; a network for deployment declares its inputs.",
        )
    return [made[name] for name in layer.bottoms]


def _written(graph: Graph, layer: CaffeLayer, values: list[Value]) -> list[Value]:
    if layer.type not in TYPES:
        raise graph.refuse(layer, "is of a type that cannot be converted")
    if not values or (layer.type in _SINGLE and len(values) != 1 and layer.type != "Scale"):
        raise graph.refuse(layer, f"reads {len(values)} blobs")
    try:
        if layer.type in _SINGLE:
            return [_SINGLE[layer.type](graph, layer, values[0])]
        if len(values) != 1 and layer.type not in ("Concat", "Eltwise", "Silence"):
            raise graph.refuse(layer, f"reads {len(values)} blobs")
        return shaping.RULES[layer.type](graph, layer, values)
    except TextError as error:
        raise graph.refuse(layer, f"has a setting that cannot be read: {error}") from error

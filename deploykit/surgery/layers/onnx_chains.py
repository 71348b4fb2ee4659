"""The layers of an ONNX graph with what belongs to them: shifts and scales by constants, normalization, activation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.loading._onnx.parts import STANDARD, initializers
from deploykit.surgery.channels.onnx_axes import captured
from deploykit.surgery.reconstruction.linear import Linear
from deploykit.surgery.reconstruction.onnx_linear import linear
from deploykit.surgery.reconstruction.onnx_walk import Walk
from deploykit.surgery.reconstruction.walk import Examples

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Shifts and scales by constants, and normalization.
_SHIFTS = frozenset({"Add", "Sub", "Mul", "Div", "BatchNormalization"})
#: Activations of single numbers, with which a layer ends.
_ACTIVATIONS = frozenset({
    "Celu", "Clip", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu", "Relu", "Selu",
    "Sigmoid", "Softplus", "Softsign", "Tanh", "ThresholdedRelu",
})  # fmt: skip
#: What may still come between a layer and an output of the model that it gives.
_SCORES = frozenset({"Softmax", "LogSoftmax", "Identity", "Cast"})


@dataclass(frozen=True)
class Chain:
    """A convolution or product with what belongs to it.

    Attributes:
        layer: The convolution or product.
        shifts: The nodes between it and its activation.
        end: The tensor that comes out.
        gives: Whether that is an output of the model, or scores of it are.
    """

    layer: Linear
    shifts: tuple[Any, ...]
    end: str
    gives: bool


def chains(graph: Any, constants: Mapping[str, NDArray[Any]]) -> Iterator[Chain]:
    """The layers of a graph that read something computed.

    Args:
        graph: A ``GraphProto``.
        constants: Its initializers by name.
    """
    reads: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in (*node.input, *captured(node)):
            reads.setdefault(name, []).append(node)
    outputs = {value.name for value in graph.output}
    for node in graph.node:
        layer = linear(node, constants)
        if layer is None or node.input[0] in constants:
            continue
        end, shifts = node.output[0], list[Any]()
        while (reader := _only(end, reads, outputs)) is not None and _belongs(reader, end, constants):
            end = reader.output[0]
            if reader.op_type in _ACTIVATIONS:
                break
            shifts.append(reader)
        last = end
        while (reader := _only(last, reads, outputs)) is not None and reader.op_type in _SCORES:
            last = reader.output[0]
        yield Chain(layer, tuple(shifts), end, last in outputs)


def sizes(model: Any, examples: Examples) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Mean |activation| and share of activations that are not 0, of each output of every layer, by its node's name.

    Args:
        model: A ``ModelProto`` whose nodes have names.
        examples: Calibration inputs.

    Returns:
        Pairs of arrays of shape (outputs,).
    """
    import numpy as np

    constants = initializers(model.graph)
    ends: dict[str, list[Chain]] = {}
    for chain in chains(model.graph, constants):
        ends.setdefault(chain.end, []).append(chain)
    walk = Walk(model, examples)
    found: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}
    for _number, node in walk.visit("measuring activations"):
        for chain in ends.get(node.output[0], []):
            values = np.moveaxis(walk.values[chain.end], chain.layer.channels, -1)
            values = np.abs(values.reshape(-1, values.shape[-1]))
            found[chain.layer.node.name] = (values.mean(0, dtype=np.float64), (values != 0).mean(0))
    return found


def silence(model: Any, chain: Chain, gone: NDArray[Any]) -> None:
    """Set what is added to some outputs of a layer to 0, so that with weights of 0 they are 0 before the activation.

    Args:
        model: The ``ModelProto``, changed in place.
        chain: One of its layers.
        gone: Which outputs, shape (outputs,), bool.
    """
    rank = chain.layer.weights.ndim if chain.layer.node.op_type == "Conv" else 0
    stays = (~gone).reshape([-1, *[1] * (rank - 2)] if rank else [-1])
    if len(chain.layer.node.input) > 2 and chain.layer.node.input[2]:
        _multiply(model, chain.layer.node, 2, ~gone)
    for node in chain.shifts:
        if node.op_type in {"Add", "Sub"}:
            constants = {t.name for t in model.graph.initializer}
            _multiply(model, node, 0 if node.input[0] in constants else 1, stays)
        elif node.op_type == "BatchNormalization":
            _multiply(model, node, 1, ~gone)
            _multiply(model, node, 2, ~gone)


def _only(name: str, reads: Mapping[str, list[Any]], outputs: set[str]) -> Any:
    """The only node that reads a tensor; None where there are others or the model gives it."""
    readers = reads.get(name, [])
    return readers[0] if len(readers) == 1 and name not in outputs else None


def _belongs(reader: Any, name: str, constants: Mapping[str, Any]) -> bool:
    others = {other for other in reader.input if other and other != name}
    if reader.domain not in STANDARD or not constants.keys() >= others or list(reader.input).count(name) != 1:
        return False
    if reader.op_type == "Div" or reader.op_type in _ACTIVATIONS:
        return bool(reader.input[0] == name)
    return reader.op_type in _SHIFTS


def _multiply(model: Any, node: Any, place: int, factor: NDArray[Any]) -> None:
    """Give a node a constant of its own: the one it reads, times a factor."""
    numpy_helper = require("onnx.numpy_helper", "")
    tensors = {t.name: t for t in model.graph.initializer}
    values = numpy_helper.to_array(tensors[node.input[place]])
    name = f"{node.output[0]}/silent{place}"
    model.graph.initializer.append(numpy_helper.from_array(values * factor.astype(values.dtype), name))
    node.input[place] = name

"""SmoothQuant: outliers of what matrix products read are moved into their weights.

One scale for all channels of an activation leaves little to the others where some channels are far larger, as in
transformers. What is read is divided by s, channel by channel, and the weights are multiplied by s, so that the product
stays: s_j = max|x_j|^α / max|w_j|^(1−α). The division is done by what writes the tensor, a normalization mostly, or by
a node of its own.

Source: Xiao et al. 2023, "SmoothQuant", https://arxiv.org/abs/2211.10438
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.loading._onnx.parts import STANDARD, attributes
from deploykit.surgery.onnx_session import opened
from deploykit.surgery.onnx_wires import Wires
from deploykit.surgery.quantization.calibration import Batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What the nodes are called that divide what others cannot: behind the name of the tensor.
DIVIDES = "/smooth"
#: What passes a positive factor on.
_PASSING = frozenset({"Relu", "LeakyRelu", "Identity", "Dropout"})
#: Scales below this are not divided by.
_LEAST = 1e-5


def products(model: Any) -> dict[str, list[Any]]:
    """The matrix products with weights in the file, by the tensor that they read."""
    constants = {t.name: len(t.dims) if t.data_type == t.FLOAT else 0 for t in model.graph.initializer}
    found: dict[str, list[Any]] = {}
    for node in model.graph.node:
        plain = node.op_type == "MatMul" or (node.op_type == "Gemm" and not attributes(node).get("transA", 0))
        if plain and node.domain in STANDARD and constants.get(node.input[1]) == 2 and node.input[0] not in constants:
            found.setdefault(node.input[0], []).append(node)
    return found


def largest(path: Path, tensors: Iterable[str], batches: Iterable[Batch]) -> dict[str, NDArray[Any]]:
    """max|x_j| of each channel, the last axis, over calibration examples: tensor → shape (channels,).

    Args:
        path: The model.
        tensors: Names of tensors.
        batches: What is fed.
    """
    import numpy as np

    onnx, names = require("onnx", ""), sorted(tensors)
    model = onnx.load(str(path))
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    session = opened(model)
    found: dict[str, NDArray[Any]] = {}
    for batch in batches:
        for name, values in zip(names, session.run(names, batch), strict=True):
            most = np.abs(values).reshape(-1, values.shape[-1]).max(0, initial=0.0)
            found[name] = np.maximum(found[name], most) if name in found else most
    return found


@dataclass
class Smoothed:
    """What was done.

    Attributes:
        folded: Tensors that are divided by what writes them.
        divided: Tensors that nodes of their own divide.
    """

    folded: list[str] = field(default_factory=list)
    divided: list[str] = field(default_factory=list)


def smooth(model: Any, reach: Mapping[str, NDArray[Any]], strength: float) -> Smoothed:
    """Divide what matrix products read, and multiply their weights.

    Args:
        model: A ``ModelProto``, changed in place; it computes the same.
        reach: From `largest`.
        strength: α, from 0 (weights get all of one size) to 1 (activations do).
    """
    import numpy as np

    made, graph = Smoothed(), _Graph(model)
    for tensor, nodes in products(model).items():
        if tensor not in reach:
            continue
        sizes = np.max([np.abs(graph.rows(node)).max(1) for node in nodes], axis=0)
        alive = (reach[tensor] > 0) & (sizes > 0)
        if sizes.shape != reach[tensor].shape or not alive.any():
            continue
        powers = (np.where(alive, part, 1.0).astype(np.float64) for part in (reach[tensor], sizes))
        x, w = powers
        scale = np.where(alive, np.maximum(x**strength / w ** (1.0 - strength), _LEAST), 1.0)
        edits = graph.foldable(tensor, len(scale), {node.name for node in nodes})
        if edits is None:
            graph.divide(tensor, nodes, scale)
            made.divided.append(tensor)
        else:
            for node, place, kind in edits:
                graph.change(node, place, kind, scale)
            made.folded.append(tensor)
        for node in nodes:
            graph.multiply(node, scale)
    graph.finish()
    return made


class _Graph(Wires):
    """A graph in which channels are divided.

    Args:
        model: A ``ModelProto``.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self._added: dict[str, Any] = {}

    def rows(self, product: Any) -> NDArray[Any]:
        """The weights of a product, shape (inputs, outputs)."""
        values = self._value(product.input[1])
        return values.T if attributes(product).get("transB", 0) and product.op_type == "Gemm" else values

    def foldable(self, name: str, channels: int, readers: set[str]) -> list[tuple[Any, int, str]] | None:
        """The constants by which what writes a tensor can divide it: (node, place, kind); None when it cannot.

        Args:
            name: The tensor.
            channels: How many channels it has.
            readers: Names of the nodes that may read it.
        """
        maker = self._makers.get(name)
        if maker is None or name in self._outputs or maker.domain not in STANDARD:
            return None
        if {node.name for node in self._reads[name]} != readers:
            return None
        below = {maker.name}
        if maker.op_type in _PASSING:
            return self.foldable(maker.input[0], channels, below)
        if maker.op_type == "LayerNormalization" and attributes(maker).get("axis", -1) == -1:
            places = [place for place in (1, 2) if place < len(maker.input) and maker.input[place]]
            return [(maker, p, "vector") for p in places] if self._are_own(maker, places, channels) else None
        if maker.op_type in {"Add", "Sub", "Mul"}:
            place = next((k for k, one in enumerate(maker.input) if one in self._constants), None)
            if place is None or not self._are_own(maker, [place], channels):
                return None
            own = [(maker, place, "vector")]
            if maker.op_type == "Mul":
                return own
            before = self.foldable(maker.input[1 - place], channels, below)
            return None if before is None else [*own, *before]
        if maker.op_type in {"MatMul", "Gemm"} and len(self._constants.get(maker.input[1], _NONE).dims) == 2:
            places = [2] if len(maker.input) > 2 and maker.input[2] else []
            if attributes(maker).get("transA", 0) or len(self._reads[maker.input[1]]) > 1:
                return None
            fits = self._are_own(maker, places, channels)
            return [(maker, 1, "columns"), *((maker, p, "vector") for p in places)] if fits else None
        return None

    def _are_own(self, node: Any, places: Iterable[int], channels: int) -> bool:
        """Whether these inputs are constants with a value per channel, which nothing else reads."""
        return all(
            node.input[place] in self._constants
            and len(self._reads[node.input[place]]) == 1
            and list(self._constants[node.input[place]].dims)[-1:] == [channels]
            for place in places
        )

    def change(self, node: Any, place: int, kind: str, scale: NDArray[Any]) -> None:
        """Divide a constant, the channels of which are its last axis, or its columns."""
        values = self._value(node.input[place])
        turned = kind == "columns" and node.op_type == "Gemm" and attributes(node).get("transB", 0)
        self._store(node.input[place], (values / (scale[:, None] if turned else scale)).astype(values.dtype))

    def multiply(self, product: Any, scale: NDArray[Any]) -> None:
        """Multiply the weights of a product; another node that reads them keeps its own."""
        name = product.input[1]
        values = self._value(name)
        turned = product.op_type == "Gemm" and attributes(product).get("transB", 0)
        new = (values * (scale if turned else scale[:, None])).astype(values.dtype)
        if len(self._reads[name]) > 1:
            self._reads[name].remove(product)
            name = product.input[1] = f"{name}/{product.name}{DIVIDES}"
            self._reads[name] = [product]
        self._store(name, new)

    def divide(self, tensor: str, nodes: Iterable[Any], scale: NDArray[Any]) -> None:
        """Put a node between a tensor and what reads it that divides it."""
        import numpy as np

        name = f"{tensor}{DIVIDES}"
        factor = require("onnx.numpy_helper", "").from_array((1.0 / scale).astype(np.float32), f"{name}_factor")
        self._graph.initializer.append(factor)
        self._added[tensor] = require("onnx.helper", "").make_node("Mul", [tensor, factor.name], [name], name)
        for node in nodes:
            node.input[0] = name

    def finish(self) -> None:
        """Put new nodes where they belong, and describe what they write as what they read."""
        if not self._added:
            return
        kept, first = list(self._graph.node), [n for t, n in self._added.items() if t not in self._makers]
        nodes = [*first, *(n for k in kept for n in (k, *(self._added[o] for o in k.output if o in self._added)))]
        self._graph.ClearField("node")
        self._graph.node.extend(nodes)
        known = {v.name: v for v in (*self._graph.value_info, *self._graph.input)}
        for tensor, node in self._added.items():
            if tensor in known:
                value = self._graph.value_info.add()
                value.CopyFrom(known[tensor])
                value.name = node.output[0]


@dataclass(frozen=True)
class _Nothing:
    dims: tuple[int, ...] = ()


_NONE: Any = _Nothing()

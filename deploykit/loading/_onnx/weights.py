"""The weights of an ONNX graph as real numbers, by the nodes that use them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from deploykit.loading._contract import Weight
from deploykit.loading._onnx import packed
from deploykit.loading._onnx.packed import PACKED

#: Operators that hand a constant on, changed in nothing but its form.
_HAND_ON = frozenset({"Cast", "Identity"})
#: What quantizers add to the names of the integers, and to those of their scales and zero points.
_QUANTIZED, _SCALE, _ZERO = "_quantized", "_scale", "_zero_point"
#: Operators whose output channels come first; the others have them last.
_FIRST_AXIS = ("Conv", "QLinearConv")


@dataclass(frozen=True)
class _Constant:
    """A constant, and what makes real numbers of it."""

    tensor: Any
    scale: Any = None
    zero: Any = None
    axis: int | None = None


def weights(graph: Any, folder: Path) -> Iterator[Weight]:
    """Constants of at least two dimensions that hold numbers.

    Args:
        graph: The main graph.
        folder: Where its external data are, which must have been checked.
    """
    tensors = {t.name: t for t in graph.initializer}
    tensors |= {
        node.output[0]: attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.HasField("t")
    }
    constants = {name: _Constant(tensor) for name, tensor in tensors.items()}
    for number, node in enumerate(graph.node):
        if node.op_type == "Constant":
            continue
        first = constants.get(node.input[0]) if node.input else None
        if node.op_type in _HAND_ON and first is not None:
            constants[node.output[0]] = first
        elif node.op_type == "DequantizeLinear" and first is not None:
            scale, zero = (tensors.get(name) for name in (*node.input[1:3], "", "")[:2])
            constants[node.output[0]] = _Constant(first.tensor, scale, zero, _attribute(node, "axis", 1))
        elif node.op_type == "Mul" and first is not None and _widened(first, tensors.get(node.input[1])):
            constants[node.output[0]] = _Constant(first.tensor, tensors[node.input[1]])
        elif node.op_type == PACKED and all(name in tensors for name in node.input[1:] if name):
            load = partial(packed.real, node, tensors, folder)
            stored = f"int{packed.bits_of(node)}"
            yield Weight(node.name or f"{node.op_type}_{number}", node.input[1], packed.shape_of(node), stored, load)
        elif node.op_type == "QuantizeLinear" and first is not None:  # rounded when the model is loaded
            constants[node.output[0]] = first
        else:
            yield from _of_node(node, number, constants, tensors, folder)


def _of_node(
    node: Any, number: int, constants: dict[str, _Constant], tensors: dict[str, Any], folder: Path
) -> Iterator[Weight]:
    from onnx import TensorProto

    layer = node.name or f"{node.op_type}_{number}"
    for place, name in enumerate(node.input):
        found = constants.get(name)
        if found is None or len(found.tensor.dims) < 2:
            continue
        kind = TensorProto.DataType.Name(found.tensor.data_type).lower()
        real = kind.startswith(("float", "bfloat", "double"))
        if not (real or kind.startswith(("int", "uint"))) or kind in ("int32", "int64", "uint64"):
            continue
        if not real and found.scale is None:
            found = _scaled(node, place, found, tensors)
        constants.pop(name)  # shared weights are listed once
        shape = tuple(int(d) for d in found.tensor.dims)
        yield Weight(
            layer, found.tensor.name or name, shape, {"float": "float32", "double": "float64"}.get(kind, kind),
            partial(_real, found, folder), real or found.scale is not None,
        )  # fmt: skip


def _scaled(node: Any, place: int, found: _Constant, tensors: dict[str, Any]) -> _Constant:
    """Integers with the scale that follows them among a node's inputs, or that is named after them."""
    # Output channels of a matrix that is transposed come first as well.
    axis = 0 if node.op_type.startswith(_FIRST_AXIS) or _attribute(node, "transB", 0) else -1
    following = [tensors.get(n) for n in node.input[place + 1 : place + 3]]
    base = found.tensor.name.removesuffix(_QUANTIZED)
    named = [tensors.get(base + _SCALE), tensors.get(base + _ZERO)]
    for scale, zero in (following if len(following) == 2 else [None, None], named):
        if scale is not None and _fits(scale, found.tensor, axis):
            return _Constant(found.tensor, scale, zero, axis)
    return found


def _widened(found: _Constant, scale: Any) -> bool:
    """Whether a constant factor makes real numbers of integers that were cast."""
    from onnx import TensorProto

    whole = found.tensor.data_type in (TensorProto.INT8, TensorProto.UINT8) and found.scale is None
    return whole and scale is not None and scale.data_type == TensorProto.FLOAT


def _fits(scale: Any, tensor: Any, axis: int) -> bool:
    from onnx import TensorProto

    count = 1
    for d in scale.dims:
        count *= d
    return scale.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16) and count in (1, tensor.dims[axis])


def _real(found: _Constant, folder: Path) -> Any:
    """Real numbers: r = (q - zero point) * scale."""
    import numpy as np
    from onnx import numpy_helper

    values = numpy_helper.to_array(found.tensor, str(folder)).astype(np.float32)
    if found.scale is None:
        return values
    scale, zero = (
        None if t is None else numpy_helper.to_array(t, str(folder)).astype(np.float32)
        for t in (found.scale, found.zero)
    )
    assert scale is not None
    if scale.size > 1 and scale.ndim == 1:
        shape = [1] * values.ndim
        shape[found.axis if found.axis is not None else 1] = -1
        scale = scale.reshape(shape)
        zero = zero.reshape(shape) if zero is not None and zero.size > 1 else zero
    elif scale.ndim > 1 and any(n not in (1, d) for n, d in zip(scale.shape, values.shape, strict=True)):
        # one scale for each block
        axis = found.axis if found.axis is not None else 1
        times = -(-values.shape[axis] // scale.shape[axis])
        scale, zero = (
            None if a is None or a.ndim < 2 else np.repeat(a, times, axis).take(range(values.shape[axis]), axis)
            for a in (scale, zero)
        )
        assert scale is not None
    return (values - (0.0 if zero is None else zero)) * scale


def _attribute(node: Any, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)

"""The kernels of an ONNX graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.loading._onnx.parts import initializers
from deploykit.surgery.reconstruction.linear import Linear
from deploykit.surgery.reconstruction.onnx_linear import linear
from deploykit.surgery.weights.kernel import Kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read(model: Any) -> list[Kernel]:
    """The kernels of a ``ModelProto``; one that several nodes share comes once."""
    seen: set[str] = set()
    found = []
    for layer in _layers(model):
        if layer.node.input[1] not in seen:
            seen.add(layer.node.input[1])
            matrices = layer.matrices()  # (groups, inputs, outputs of a group)
            rows = matrices.transpose(0, 2, 1).reshape(-1, matrices.shape[1])
            places = 1 if layer.is_product else math.prod(layer.weights.shape[2:])
            found.append(Kernel(layer.node.name, layer.node.op_type, rows, places=places))
    return found


def write(model: Any, changed: Sequence[NDArray[Any]]) -> None:
    """Put changed kernels back.

    Args:
        model: The ``ModelProto`` they come from, changed in place.
        changed: The rows of each kernel, in the order of `read`.
    """
    numpy_helper = require("onnx.numpy_helper", "")
    tensors = {t.name: t for t in model.graph.initializer}
    seen: set[str] = set()
    left = iter(changed)
    for layer in _layers(model):
        name = layer.node.input[1]
        if name not in seen:
            seen.add(name)
            groups, inputs, outputs = layer.matrices().shape
            matrices = next(left).reshape(groups, outputs, inputs).transpose(0, 2, 1)
            tensors[name].CopyFrom(numpy_helper.from_array(layer.restored(matrices), name))


def _layers(model: Any) -> list[Linear]:
    constants = initializers(model.graph)
    found = (linear(node, constants) for node in model.graph.node)
    return [layer for layer in found if layer is not None]

"""Weights of few bits as ONNX Runtime's MatMulNBits reads them: blocks of one output, packed into bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The operator; it reads an activation, integers, scales and, where there are some, zero points.
PACKED = "MatMulNBits"


def shape_of(node: Any) -> tuple[int, int]:
    """Inputs and outputs of the matrix."""
    found = {a.name: int(a.i) for a in node.attribute}
    return found.get("K", 0), found.get("N", 0)


def bits_of(node: Any) -> int:
    """Bits of a weight."""
    return next((int(a.i) for a in node.attribute if a.name == "bits"), 4)


def real(node: Any, tensors: Mapping[str, Any], folder: Path) -> NDArray[Any]:
    """The matrix as real numbers, shape (inputs, outputs).

    Args:
        node: The node.
        tensors: Constants of the graph by name.
        folder: Where external data are, which must have been checked.
    """
    import numpy as np
    from onnx import numpy_helper

    parts = [numpy_helper.to_array(tensors[name], str(folder)) for name in node.input[1:4] if name]
    (rows, columns), bits = shape_of(node), bits_of(node)
    scales = parts[1].astype(np.float32).reshape(columns, -1, 1)
    blocks = scales.shape[1]
    zeros: Any = float(1 << (bits - 1))
    if len(parts) > 2:
        whole = parts[2].dtype == np.uint8
        zeros = _unpacked(parts[2].reshape(columns, -1), bits)[:, :blocks] if whole else parts[2]
        zeros = zeros.astype(np.float32).reshape(columns, blocks, 1)
    values = _unpacked(parts[0].reshape(columns, blocks, -1), bits).astype(np.float32)
    found: NDArray[Any] = ((values - zeros) * scales).reshape(columns, -1)[:, :rows].T
    return found


def _unpacked(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """Integers of few bits, several in a byte along the last axis, the lowest bits first."""
    import numpy as np

    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    found = values[..., np.newaxis] >> shifts & np.uint8((1 << bits) - 1)
    return found.reshape(*values.shape[:-1], -1)

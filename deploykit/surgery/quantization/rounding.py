"""Ways to round a matrix to few bits, as nodes of ONNX Runtime's MatMulNBits.

The weights of each output are cut into blocks with a scale each. A weight is ``(q - zero point) * scale``.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.surgery.quantization import learned as learning
from deploykit.surgery.quantization.moments import Moments, key
from deploykit.surgery.quantization.stored import Rounding
from deploykit.surgery.reconstruction.onnx_linear import linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: How HQQ looks for zero points: steps of one unit at most, how it starts, how much stricter each round is, how many
#: rounds, and the norm of what is left, below 1 so that single weights may be far off.
_MOST_STEPS, _BETA, _GROWTH, _ROUNDS, _NORM = 2e4, 10.0, 1.01, 20, 0.7
#: The share of the mean curvature that GPTQ adds to each, as in the paper.
_DAMPING = 0.01
#: The accuracy level of MatMulNBits with which activations are rounded to int8.
_INT8 = 4


@dataclass(frozen=True)
class FewBits:
    """How weights are packed.

    Attributes:
        bits: Bits of a weight of a matrix product: 4 or 8.
        block: Weights of one output that share a scale.
        symmetric: Whether zero is in the middle of what the bits can hold; else each block has a zero point.
        method: How weights are rounded; one of `METHODS`.
        convolutions: Whether convolutions get weights of 8 bits; else they stay float.
        integers: Whether products round blocks of activations to int8 while they compute.
    """

    bits: int
    block: int
    symmetric: bool
    method: str
    convolutions: bool
    integers: bool = False

    @property
    def level(self) -> int:
        """The accuracy level of MatMulNBits; 0 where it has none."""
        return _INT8 if self.integers else 0


#: What rounding tells: the name of a layer → how much of the error of the nearest values is left in what it gives.
Told = MutableMapping[str, float]
#: A way to round: graph, MatMul, how, what products read, what it tells → the nodes in the place of the MatMul.
Method = Callable[[Any, Any, FewBits, Moments, Told], list[Any]]


def nearest(graph: Any, node: Any, how: FewBits, _read: Moments, _told: Told) -> list[Any]:
    """Each weight to the nearest value of its block: ONNX Runtime's own quantizer."""
    module = require("onnxruntime.quantization.matmul_nbits_quantizer", "")
    config = module.DefaultWeightOnlyQuantConfig(how.block, how.symmetric, how.level or None, bits=how.bits)
    return list(module.DefaultWeightOnlyQuantizer(config).quantize(node, [graph]))


def gptq(graph: Any, node: Any, how: FewBits, read: Moments, _told: Told) -> list[Any]:
    """One input after the other, later ones making up for the errors of earlier ones (Frantar 2022).

    ONNX Runtime has a GPTQ as well, which reads zeros of a triangular matrix where the errors should be passed on
    (version 1.31): it gives what the nearest values give.
    """
    import numpy as np

    bits, block = how.bits, how.block
    weight = _weight(graph, node).astype(np.float64)
    curvature = read[key(node)][0].copy()
    unused = np.diag(curvature) == 0
    weight[unused], curvature[unused, unused] = 0.0, 1.0
    curvature[np.diag_indices_from(curvature)] += _DAMPING * np.diag(curvature).mean()
    passed = np.linalg.cholesky(np.linalg.inv(curvature)).T
    blocks = -(-len(weight) // block)
    whole = np.zeros((blocks * block, weight.shape[1]), np.uint8)
    scales, zeros = np.zeros((2, blocks, weight.shape[1]))
    for number, start in enumerate(range(0, len(weight), block)):
        rows = weight[start : start + block]
        scale, zero = scales[number], zeros[number] = _grid(rows, bits, symmetric=how.symmetric)
        errors = np.zeros_like(rows)
        for i in range(len(rows)):
            place = start + i
            whole[place] = np.clip(np.round(rows[i] / scale) + zero, 0, 2**bits - 1)
            errors[i] = (rows[i] - (whole[place] - zero) * scale) / passed[place, place]
            rows[i:] -= np.outer(passed[place, place : start + len(rows)], errors[i])
        behind = start + len(rows)
        weight[behind:] -= passed[start:behind, behind:].T @ errors
    return _blocks(graph, node, how, whole[: len(weight)], scales, zeros)


def learned(graph: Any, node: Any, how: FewBits, read: Moments, told: Told) -> list[Any]:
    """Each weight down or up, so that what the layer gives stays nearest; see `learned`."""
    import numpy as np

    weight = _weight(graph, node)
    layer = linear(node, {node.input[1]: weight})
    if layer is None or learning.too_large(layer):
        return nearest(graph, node, how, read, told)
    grids = [
        _grid(weight[start : start + how.block].astype(np.float64), how.bits, symmetric=how.symmetric)
        for start in range(0, len(weight), how.block)
    ]
    scales, zeros = (np.stack(values) for values in zip(*grids, strict=True))
    each, zero = (np.repeat(values, how.block, 0)[: len(weight)] for values in (scales, zeros))
    whole, told[node.name] = learning.rounded(layer, weight / each + zero, each, read, 0, 2**how.bits - 1)
    return _blocks(graph, node, how, whole, scales, zeros)


def convolution(node: Any, how: FewBits, read: Moments, told: Told) -> Rounding | None:
    """How the weights of a convolution are rounded to integers; None where that is to the nearest ones."""
    if how.method != "learned":
        return None

    def rounding(places: NDArray[Any], scale: NDArray[Any]) -> NDArray[Any]:
        layer = linear(node, {node.input[1]: places})
        if layer is None or learning.too_large(layer):
            return learning.nearest(places, -127, 127)
        whole, told[node.name] = learning.rounded(layer, places, scale, read, -127, 127)
        return whole

    return rounding


def _blocks(
    graph: Any, node: Any, how: FewBits, whole: NDArray[Any], scales: NDArray[Any], zeros: NDArray[Any]
) -> list[Any]:
    """A MatMulNBits instead of a MatMul; scales and zero points have the shape (blocks, outputs)."""
    import numpy as np

    filled = np.repeat(zeros, how.block, 0)  # of the last block's end, which nothing reads: zero in what it stands for
    filled[: len(whole)] = whole
    packed = np.ascontiguousarray(filled.astype(np.uint8).T).reshape(-1, how.block)
    return _node(graph, node, how, packed, scales.T, None if how.symmetric else _bytes(zeros.T, how.bits))


def _grid(rows: NDArray[Any], bits: int, *, symmetric: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """The scale and zero point of each column, as ONNX Runtime's quantizer has them: the largest is at the end."""
    import numpy as np

    if symmetric:
        extreme = np.take_along_axis(rows, np.abs(rows).argmax(0)[np.newaxis], 0)[0]
        half = float(1 << (bits - 1))
        return _stored(-extreme / half), np.full_like(extreme, half)
    low, high = np.minimum(rows.min(0), 0.0), np.maximum(rows.max(0), 0.0)
    scale = _stored((high - low) / (2**bits - 1))
    return scale, np.clip(np.round(-low / scale), 0, 2**bits - 1)


def _stored(scale: NDArray[Any]) -> NDArray[Any]:
    """Scales as the file has them, 1 where all weights are zero."""
    import numpy as np

    return np.where(scale == 0, 1.0, scale).astype(np.float32).astype(np.float64)


def hqq(graph: Any, node: Any, how: FewBits, _read: Moments, _told: Told) -> list[Any]:
    """Zero points, which need not be whole, moved to where few weights are far off (Badri and Shaji 2023).

    The steps and their settings are those of ONNX Runtime's quantizer, which takes PyTorch for them.
    """
    import numpy as np

    bits, block = how.bits, how.block
    weight = _weight(graph, node)
    padded = np.pad(weight.astype(np.float32), ((0, -weight.shape[0] % block), (0, 0)))
    rows, top = np.ascontiguousarray(padded.T).reshape(-1, block), np.float32(2**bits - 1)
    low, spread = rows.min(1, keepdims=True), np.ptp(rows, 1, keepdims=True)
    steps = np.minimum(top / np.where(spread > 0, spread, top), np.float32(_MOST_STEPS))
    zero = np.round(-low * steps)

    def rounded() -> NDArray[Any]:
        found: NDArray[Any] = np.clip(np.round(rows * steps + zero), 0, top)
        return found

    best, beta = np.inf, _BETA
    for _ in range(_ROUNDS):
        whole = rounded()
        off = rows - (whole - zero) / steps
        far = np.abs(off) - np.power(np.abs(off) + np.float32(1e-8), np.float32(_NORM - 1)) / np.float32(beta)
        outliers = np.sign(off) * np.maximum(far, 0)
        zero = (whole - (rows - outliers) * steps).mean(1, keepdims=True, dtype=np.float32)
        beta *= _GROWTH
        if (error := float(np.abs(off).mean())) >= best:
            break
        best = error
    return _node(graph, node, how, rounded(), 1 / steps, zero.reshape(weight.shape[1], -1))


def _weight(graph: Any, node: Any) -> NDArray[Any]:
    tensor = next(i for i in graph.initializer if i.name == node.input[1])
    found: NDArray[Any] = require("onnx.numpy_helper", "").to_array(tensor)
    return found


def _bytes(zero: NDArray[Any], bits: int) -> NDArray[Any]:
    """Zero points, shape (outputs, blocks), in bytes: two of 4 bits in each, the last of an odd number beside an 8."""
    import numpy as np

    whole = zero.astype(np.uint8)
    if bits == 8:
        return whole
    even = np.pad(whole, ((0, 0), (0, whole.shape[1] % 2)), constant_values=8)
    found: NDArray[Any] = even[:, ::2] | even[:, 1::2] << 4
    return found


def _node(
    graph: Any, node: Any, how: FewBits, whole: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any] | None
) -> list[Any]:
    """A MatMulNBits instead of a MatMul.

    Args:
        graph: The graph, which gets the tensors.
        node: The MatMul.
        how: How weights are packed.
        whole: The integers, a block in each row.
        scale: A scale for each block.
        zero: Zero points as the operator reads them; None where they are in the middle.
    """
    import numpy as np

    tools = require("onnxruntime.quantization.neural_compressor.weight_only", "")
    numpy_helper = require("onnx.numpy_helper", "")
    shape = _weight(graph, node).shape
    blocks = -(-shape[0] // how.block)
    made, tensors = tools.make_matmul_weight_only_node(
        node, shape, how.bits, how.block, blocks, whole.astype(np.uint8), scale.astype(np.float32), None, how.level
    )
    graph.initializer.extend(tensors)
    if zero is not None:
        name = f"{node.input[1]}_zp"
        graph.initializer.append(numpy_helper.from_array(zero, name))
        made.input.append(name)
    return [made]


#: The setting's name of each.
METHODS: dict[str, Method] = {"rtn": nearest, "hqq": hqq, "gptq": gptq, "learned": learned}

"""Weights of layers that Keras has quantized: integers, with what makes real numbers of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from deploykit.loading._contract import Weight

if TYPE_CHECKING:
    from numpy.typing import NDArray


def packed(layer: str, items: Mapping[str, Any]) -> Iterator[Weight]:
    """The kernel of a quantized layer.

    Its tensors come in the order in which Keras makes them: integers first, a bias where there is one, scales, and with
    4 bits zero points and the group of each input. Two integers of 4 bits are in a byte along the last axis.

    Args:
        layer: Its name.
        items: Its tensors by path, as an open weight file has them.
    """
    path, kernel = next((p, item) for p, item in items.items() if item.dtype.kind == "i" and len(item.shape) >= 2)
    shape = tuple(int(d) for d in kernel.shape)
    others = [item for p, item in items.items() if p != path]
    zero = next((item for item in others if item.dtype.kind == "i"), None)
    if zero is not None and len(shape) == 2 and len(others) >= 3 and others[-1].shape == shape[:1]:
        scale, groups = others[-3], others[-1]
        wide = (shape[0], int(scale.shape[-1]))
        yield Weight(layer, path, wide, "int4", partial(_grouped, kernel, scale, zero, groups))
        return
    scale = others[-1] if others and others[-1].dtype.kind == "f" else None
    axes = [] if scale is None or len(scale.shape) != 1 else [i for i, d in enumerate(shape) if d == scale.shape[0]]
    if zero is not None or not axes:  # of these layouts the numbers in the file are all that is known
        yield Weight(layer, path, shape, "int8", lambda: kernel[()], scaled=False)
        return
    yield Weight(layer, path, shape, "int8", partial(_channels, kernel, scale, axes[-1]))


def _channels(kernel: Any, scale: Any, axis: int) -> NDArray[Any]:
    """Integers are real numbers times the scale of their channel."""
    import numpy as np

    values: NDArray[Any] = kernel[()].astype(np.float32)
    shape = [1] * values.ndim
    shape[axis] = -1
    found: NDArray[Any] = values / scale[()].astype(np.float32).reshape(shape)
    return found


def _grouped(kernel: Any, scale: Any, zero: Any, groups: Any) -> NDArray[Any]:
    """Integers less the zero point of their group, times its scale."""
    import numpy as np

    both: NDArray[Any] = kernel[()].view(np.uint8)
    nibbles = np.stack([both & 15, both >> 4], -1).reshape(len(both), -1)[:, : scale.shape[-1]]
    signed = (nibbles ^ 8).astype(np.float32) - 8
    index = groups[()].astype(np.int64)
    found: NDArray[Any] = (signed - zero[()].astype(np.float32)[index]) * scale[()].astype(np.float32)[index]
    return found

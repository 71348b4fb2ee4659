"""What the graph of a file is made of, whatever its format."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deploykit.core.layers.kinds import LayerKind
from deploykit.core.serial import Plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What a graph's tensors are for some inputs, by the names that `GraphNode.outputs` has.
Values = dict[str, "NDArray[Any]"]


@dataclass(frozen=True)
class NodeWeight(Plain):
    """A constant tensor that a node reads.

    Attributes:
        name: Its name in the file; text from outside.
        shape: Its dimensions.
        stored: What the file stores, for example ``"int8"``.
        digest: Of its values as stored: equal digests are equal values.
    """

    name: str
    shape: tuple[int, ...]
    stored: str
    digest: str

    @property
    def count(self) -> int:
        """How many values it has."""
        total = 1
        for size in self.shape:
            total *= size
        return total


@dataclass(frozen=True)
class GraphNode(Plain):
    """A node of a file's graph: an operator, or a layer where the format has layers.

    Attributes:
        name: Its name in the file; text from outside.
        operator: What the format calls it; text from outside.
        kind: What it does.
        inputs: The tensors it reads that are not constants, in order.
        outputs: The tensors it computes.
        weights: The constants it reads, through nodes that only make real numbers of them.
        attributes: Its settings as text.
        shape: Shape of its first output, None while unknown.
    """

    name: str
    operator: str
    kind: LayerKind
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    weights: tuple[NodeWeight, ...] = ()
    attributes: dict[str, str] = field(default_factory=dict)
    shape: tuple[int | None, ...] | None = None

    @property
    def parameters(self) -> int:
        """How many values its constants hold."""
        return sum(w.count for w in self.weights)


def digest_of(values: NDArray[Any]) -> str:
    """A digest of the values as they are stored."""
    import numpy as np

    if values.dtype == object:
        return hashlib.sha256(repr(values.tolist()).encode()).hexdigest()[:16]
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()[:16]


def real(values: NDArray[Any], scale: Any, zero: Any, axis: int = 0) -> NDArray[Any]:
    """Real numbers from quantized ones: r = (q - zero point) * scale.

    Args:
        values: Whole numbers.
        scale: One number, or one for each place of the axis.
        zero: The zero points; None: none.
        axis: The axis of the scales.
    """
    import numpy as np

    scales, zeros = (np.asarray(0 if part is None else part, np.float32) for part in (scale, zero))
    shape = [1] * values.ndim
    if scales.size > 1:
        shape[axis] = -1
    fits = [part.reshape(shape if part.size > 1 else ()) for part in (scales, zeros)]
    found: NDArray[Any] = (values.astype(np.float32) - fits[1]) * fits[0]
    return found


def in_batches(
    run: Callable[[Mapping[str, NDArray[Any]]], Values], feeds: Mapping[str, NDArray[Any]], size: int | None
) -> Values:
    """Values for any number of examples of a file whose batch size may be fixed.

    Args:
        run: Gives values for a batch.
        feeds: Inputs by the file's names, batch first.
        size: Its batch size, None when it is free.
    """
    import numpy as np

    count = max((len(v) for v in feeds.values() if v.ndim), default=1)
    if size is None or size >= count:
        return run(feeds)
    parts: dict[str, list[Any]] = {}
    for start in range(0, count - count % size, size):
        batch = {k: v[start : start + size] if v.ndim and len(v) == count else v for k, v in feeds.items()}
        for name, value in run(batch).items():
            parts.setdefault(name, []).append(value)
    return {k: np.concatenate(v) if v[0].ndim and len(v[0]) == size else v[0] for k, v in parts.items()}

"""What layers of an ONNX graph read over the calibration examples: which errors of their weights matter."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sized
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.surgery.onnx_session import opened
from deploykit.surgery.reconstruction.linear import Linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Inputs of a model by name.
Batch = Mapping[str, "NDArray[Any]"]
#: Bytes of matrices that are held at once: one run of the examples makes as many as fit.
_BUDGET = 512 << 20
#: Places of a convolution that are looked at over all batches, for each of its inputs, and the fewest and the most.
_PLACES, _FEW, _MANY = 10, 2_000, 20_000
#: Of so many batches one is kept apart.
_APART = 5


def key(node: Any) -> str:
    """Under which name `Moments` has what a node reads: products of one tensor share it."""
    return str(node.output[0] if node.op_type == "Conv" else node.input[0])


class Moments:
    """``2 / n · X.T @ X`` of what products and convolutions read, measured when it is asked for.

    All rows that a product reads count. Of a convolution, whose places are many and much alike, they are drawn.

    Args:
        model: A ``ModelProto``; a copy is kept.
        layers: What is asked for, by `key`, in the order of the graph.
        batches: Inputs of the model by name, one batch after the other; gone through several times.
        parted: Whether some batches are kept apart, so that what was learned from the others can be checked.
    """

    def __init__(
        self, model: Any, layers: Mapping[str, Linear], batches: Iterable[Batch], *, parted: bool = False
    ) -> None:
        self._model = copy.deepcopy(model)
        self._left = dict(layers)
        self._batches = batches
        self._held: dict[str, list[NDArray[Any]]] = {}
        self._parted = parted

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The matrices of a layer, shape (groups, inputs, inputs), float64; of the batches that are not kept apart."""
        return self.parts(name)[0]

    def parts(self, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
        """The matrices of a layer, and those of the batches kept apart; the same where there are none."""
        if name not in self._held:
            chosen, room = [name], _BUDGET - self._bytes(name)
            for other in self._left:
                if other != name and self._bytes(other) <= room:
                    chosen.append(other)
                    room -= self._bytes(other)
            self._held = self._measured(chosen)
            self._left = {other: layer for other, layer in self._left.items() if other not in chosen}
        found = self._held[name]
        return found[0], found[-1]

    def _bytes(self, name: str) -> int:
        return (1 + self._parted) * size_bytes(self._left[name])

    def _measured(self, names: list[str]) -> dict[str, list[NDArray[Any]]]:
        import numpy as np

        layers = {name: self._left[name] for name in names}
        model = copy.deepcopy(self._model)
        model.graph.ClearField("output")
        tensors = list(dict.fromkeys(tensor for layer in layers.values() for tensor in _tensors(layer)))
        model.graph.output.extend(require("onnx", "").ValueInfoProto(name=name) for name in tensors)
        session, generator = opened(model), np.random.default_rng(0)
        total = len(self._batches) if isinstance(self._batches, Sized) else 1
        found = {name: list[Any]() for name in names}
        examples = {name: [0, 0] for name in names}
        for place, batch in enumerate(self._batches):
            part = int(self._parted and place % _APART == 1)
            values = dict(zip(tensors, session.run(tensors, dict(batch)), strict=True))
            for name, layer in layers.items():
                value = values[layer.node.input[0]]
                # As in ONNX Runtime's quantizer, so that the sums are the same to the last bit.
                before = examples[name][part]
                count = examples[name][part] = before + len(value)
                if layer.is_product:
                    rows = np.sqrt(2 / count) * value.reshape(-1, value.shape[-1])
                    added = (rows.T @ rows)[None]
                else:
                    rows = _patches(layer, value, values[layer.node.output[0]].shape, total, generator)
                    added = 2 / count * (rows.transpose(0, 2, 1) @ rows).astype(np.float64)
                if len(found[name]) == part:
                    found[name].append(np.zeros(added.shape))
                found[name][part] = found[name][part] * (before / count) + added
        return found


def size_bytes(layer: Linear) -> int:
    """What the matrices of a layer take."""
    return 8 * layer.groups * layer.features() ** 2


def _tensors(layer: Linear) -> list[str]:
    """What must be known to make the rows of a layer."""
    return [layer.node.input[0], *([] if layer.is_product else [layer.node.output[0]])]


def _patches(
    layer: Linear, source: NDArray[Any], output: tuple[int, ...], batches: int, generator: Any
) -> NDArray[Any]:
    """What a convolution reads at some of its places, as if it were all: shape (groups, places, inputs of a group)."""
    import numpy as np

    total = output[0] * math.prod(output[2:])
    wanted = min(max(_PLACES * layer.features(), _FEW), _MANY)
    count = min(total, math.ceil(wanted / max(batches, 1)))
    places = np.sort(generator.choice(total, count, replace=False))
    rows = layer.inputs(source, output, places).reshape(count, layer.groups, -1)
    found: NDArray[Any] = np.sqrt(np.float32(total / count)) * rows.transpose(1, 0, 2)
    return found

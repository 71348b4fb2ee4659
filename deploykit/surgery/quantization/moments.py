"""What matrix products of an ONNX graph read over the calibration examples: which errors of their weights matter."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.surgery.onnx_session import opened

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Bytes of matrices that are held at once: one run of the examples makes as many as fit.
_BUDGET = 512 << 20


class Moments:
    """``2 / n · X.T @ X`` of what products read, measured when it is asked for.

    Args:
        model: A ``ModelProto``; a copy is kept.
        sizes: Name of what a product reads → how many inputs it has, in the order of the graph.
        batches: Inputs of the model by name, one batch after the other; gone through several times.
    """

    def __init__(self, model: Any, sizes: Mapping[str, int], batches: Iterable[Mapping[str, NDArray[Any]]]) -> None:
        self._model = copy.deepcopy(model)
        self._left = dict(sizes)
        self._batches = batches
        self._held: dict[str, NDArray[Any]] = {}

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The matrix of a tensor, shape (inputs, inputs), float64."""
        if name not in self._held:
            chosen, room = [name], _BUDGET - 8 * self._left[name] ** 2
            for other, size in self._left.items():
                if other != name and 8 * size**2 <= room:
                    chosen.append(other)
                    room -= 8 * size**2
            self._held = self._measured(chosen)
            self._left = {other: size for other, size in self._left.items() if other not in chosen}
        return self._held[name]

    def _measured(self, names: list[str]) -> dict[str, NDArray[Any]]:
        import numpy as np

        model = copy.deepcopy(self._model)
        model.graph.ClearField("output")
        model.graph.output.extend(require("onnx", "").ValueInfoProto(name=name) for name in names)
        session = opened(model)
        found = {name: np.zeros((self._left[name],) * 2) for name in names}
        examples = dict.fromkeys(names, 0)
        for batch in self._batches:
            for name, value in zip(names, session.run(names, dict(batch)), strict=True):
                # As in ONNX Runtime's quantizer, so that the sums are the same to the last bit.
                count = examples[name] + len(value)
                rows = np.sqrt(2 / count) * value.reshape(-1, value.shape[-1])
                found[name] = found[name] * (examples[name] / count) + rows.T @ rows
                examples[name] = count
        return found

"""Running a Keras model step by step; see `deploykit.surgery.reconstruction.walk`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from deploykit.surgery.channels.keras_graph import Flat, Step
from deploykit.surgery.reconstruction.walk import BUDGET, Examples, Steps

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Examples that are run at once.
_BATCH = 64


class Walk(Steps):
    """A Keras model on its way from inputs to outputs.

    Args:
        flat: The model; weights of steps that have not run yet may be changed.
        examples: What is fed, by names of ``flat.inputs``.
        budget: Bytes of tensors it may hold.
    """

    def __init__(self, flat: Flat, examples: Examples, *, budget: int = BUDGET) -> None:
        super().__init__(flat.steps, flat.outputs, examples, budget=budget)

    def _run(
        self, nodes: list[Step], feeds: Mapping[str, NDArray[Any]], wanted: Collection[str] | None, count: int
    ) -> dict[str, NDArray[Any]]:
        """What some steps compute, all of it when nothing is wanted in particular."""
        import numpy as np

        size = self._batch or min(_BATCH, count)
        last = {name: number for number, step in enumerate(nodes) for name in step.input}
        parts: dict[str, list[NDArray[Any]]] = {}
        for start in range(0, count, size):
            values: dict[str, Any] = {name: value[start : start + size] for name, value in feeds.items()}
            for number, step in enumerate(nodes):
                made = step.run(values)
                values |= made
                for name in made:
                    if wanted is None or name in wanted:
                        parts.setdefault(name, []).append(np.asarray(made[name]))
                for name in [n for n in (*step.input, *made) if last.get(n, -1) <= number]:
                    values.pop(name, None)
        return {name: np.concatenate(found) for name, found in parts.items()}

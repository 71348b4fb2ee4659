"""What techniques share that leave few different values in each kernel, stored as float32 as before."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.problem import Effect
from deploykit.surgery import selection
from deploykit.transforms._conditions import Condition, Outcome
from deploykit.transforms._contract import TransformJob
from deploykit.transforms._weights.keras import KerasWeights, Opened
from deploykit.transforms._weights.kernels import Weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.surgery.weights.kernel import Kernel

#: Note of the bytes that a file of float weights would lose if each of them took only the bits that it needs.
SAVED = "saved_bytes"


@dataclass(frozen=True)
class FewValues(Condition):
    """No kernel that was changed has more different values than this.

    Attributes:
        most: How many.
    """

    most: int

    def broken(self, outcome: Outcome) -> str:
        """The first kernel with more."""
        import numpy as np

        changed = {(name, int(size)) for name, _, size in outcome.units or ()}
        for weight in outcome.weights():
            if (weight.layer, math.prod(weight.shape)) in changed:
                found = len(np.unique(weight.load()))
                if found > self.most:
                    return f"{weight.layer} has {found:,} different weights instead of {self.most:,}"
        return ""


class SharedWeights(Weights):
    """Leaves few different values in each kernel."""

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Shared values."""
        return frozenset({"shared values"})

    def ensures(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """How many values there are at most."""
        most = self._most(parameters)
        return (*super().ensures(parameters), *(() if most is None else (FewValues(most),)))

    @abstractmethod
    def _most(self, parameters: dict[str, Any]) -> int | None:
        """How many different values a kernel has at most; None when its shape decides."""

    @abstractmethod
    def _shared(self, job: TransformJob, rows: NDArray[Any]) -> NDArray[Any]:
        """The rows of a kernel with few values."""

    @abstractmethod
    def _packed(self, job: TransformJob, rows: NDArray[Any]) -> float:
        """Bytes that changed rows would take if each weight were stored in as few bits as it needs."""

    def _changed(self, job: TransformJob, model: Any, kernels: Sequence[Kernel]) -> Sequence[NDArray[Any]]:
        import numpy as np

        found, saved = [], 0.0
        for kernel in kernels:
            if not np.isfinite(kernel.rows).all():
                raise UnsupportedModelError(
                    f"Layer {kernel.layer!r} has weights that are not finite numbers.",
                    remedy="train the model again, or leave the layer out with exclude.",
                )
            rows = self._shared(job, kernel.rows)
            saved += rows.nbytes - self._packed(job, rows)
            found.append(rows)
        job.notes[SAVED] = math.floor(saved)
        return found


class SharedKeras(SharedWeights, KerasWeights):
    """The same for Keras models, whose kernels get the form first in which converters store them."""

    def _change(self, job: TransformJob, model: Opened) -> set[int]:
        from deploykit.surgery.weights.keras_normalization import absorb

        kernels = self._read(model)
        left = selection.excluded(job["exclude"], self._parts(kernels), "layer", self.types)
        job.notes["normalization_absorbed"] = list(absorb(model.flat, {kernel.layer for kernel in kernels} - left))
        return super()._change(job, model)

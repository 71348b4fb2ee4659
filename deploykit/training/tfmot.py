"""Magnitude pruning by TensorFlow Model Optimization (TF-MOT) while a tf_keras model is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.surgery import kernels
from deploykit.surgery.weights.kernel import weakest
from deploykit.training.schedule import raised

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Share of the steps in which a polynomial schedule raises the sparsity; the others recover the accuracy.
_RAMP = 0.3
#: How often masks are recomputed: sorting all weights at every step would take longer than the step.
_UPDATES = 10


class Pruning:
    """Wraps layers for TF-MOT, and sees to it that each of them ends up with the sparsity asked for.

    Args:
        sparsity: Share of each layer's weights that becomes zero.
        schedule: ``"polynomial"`` or ``"constant"``.
        steps: How many steps are trained in all.
        rounds: In how many rounds of as many steps the sparsity is raised; 1: in the first steps.
        units: Note under which changed layers are listed.
    """

    def __init__(self, sparsity: float, schedule: str, steps: int, rounds: int, units: str) -> None:
        tfmot = require("tensorflow_model_optimization", "tensorflow")
        self._keras = tfmot.sparsity.keras
        self._sparsity = sparsity
        self._units = units
        self._schedule = self._make_schedule(schedule, steps, rounds)
        self._spared: set[int] = set()
        self._pruned: dict[str, Any] = {}
        self._left: list[str] = []

    def _make_schedule(self, schedule: str, steps: int, rounds: int) -> Any:
        if schedule == "constant":
            return self._keras.ConstantSparsity(self._sparsity, begin_step=1, frequency=max(1, steps // _UPDATES))
        if rounds > 1 and steps:  # masks change at the first step of each round
            each, first = steps // rounds, self._sparsity * raised(1, rounds)
            return self._keras.PolynomialDecay(
                first, self._sparsity, begin_step=0, end_step=(rounds - 1) * each, frequency=each
            )
        ramp = max(1, int(_RAMP * steps))
        every = max(1, ramp // _UPDATES)
        end = ramp // every * every  # masks change at multiples of the frequency only: the ramp must end on one
        return self._keras.PolynomialDecay(0.0, self._sparsity, begin_step=0, end_step=end, frequency=every)

    def spare(self, layers: list[Any]) -> None:
        """Leave these Keras 3 layers as they are."""
        self._spared = {id(layer) for layer in layers}

    def wrap(self, layer: Any, twin: Any, outputs: Any) -> Any:
        """A pruning wrapper around a twin that has kernels; the twin itself otherwise."""
        if not kernels.has_kernels(twin) or id(layer) in self._spared or _masked(twin, outputs):
            if any(len(w.shape) > 1 for w in twin.weights):
                self._left.append(layer.name)
            return twin
        twin.get_prunable_weights = lambda: kernels.kernels(twin)
        self._pruned[layer.name] = twin
        return self._keras.prune_low_magnitude(twin, pruning_schedule=self._schedule)

    def callbacks(self) -> list[Any]:
        """What TF-MOT needs while it trains."""
        return [self._keras.UpdatePruningStep()]

    def finish(self) -> None:
        """Apply the sparsity to all kernels: training reaches only those that lead to the first output."""
        for twin in self._pruned.values():
            for kernel in twin.get_prunable_weights():
                kernel.assign(sparse(kernel.numpy(), self._sparsity))

    def notes(self) -> dict[str, Any]:
        """What was pruned, and how much of it."""
        import numpy as np

        values = {name: [w.numpy() for w in twin.get_prunable_weights()] for name, twin in self._pruned.items()}
        zeros = {name: sum(int((k == 0).sum()) for k in arrays) for name, arrays in values.items()}
        sizes = {name: sum(k.size for k in arrays) for name, arrays in values.items()}
        return {
            "sparsity": round(sum(zeros.values()) / max(1, sum(sizes.values())), 4),
            "sparsity_by_layer": {name: round(zeros[name] / sizes[name], 4) for name in sizes},
            "prunable_weights": int(np.sum(list(sizes.values()), dtype=int)),
            "left_dense": self._left,
            self._units: [[name, type(twin).__name__, sizes[name]] for name, twin in self._pruned.items()],
        }


def sparse(kernel: NDArray[Any], sparsity: float) -> NDArray[Any]:
    """The kernel with its smallest weights set to zero; at least one weight stays.

    Args:
        kernel: Weights of any shape.
        sparsity: Share of them that become zero.
    """
    import numpy as np

    found: NDArray[Any] = np.where(weakest(np.abs(kernel), sparsity), kernel.dtype.type(0), kernel)
    return found


def _masked(twin: Any, outputs: Any) -> bool:
    """Whether a mask of padded steps passes through: TF-MOT's wrapper would lose it."""
    keras = require("keras", "tensorflow")
    tensors = [*keras.tree.flatten(twin.input), *keras.tree.flatten(outputs)]
    return any(getattr(t, "_keras_mask", None) is not None for t in tensors)

"""What techniques share that change the weights of a model one kernel at a time, whatever its format."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.layers.kinds import LayerKind
from deploykit.core.model import Layer
from deploykit.core.problem import Facts, Problem
from deploykit.loading._contract import FORMATS
from deploykit.surgery import selection
from deploykit.transforms._conditions import Condition, Without
from deploykit.transforms._contract import UNITS, TransformJob, Variant

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.surgery.weights.kernel import Kernel

#: Share of the weights in the layers that are spared by default: mostly the first and the last one, which suffer most.
_SMALL = 0.01
#: What is expected where weights are changed: that they are float.
FLOAT_WEIGHTS = Without("quantized", "already quantized", "quantize last", "start from the float model")
#: Kinds of layers that have no kernel if they have no weights; of others, weights may be shared or computed.
_WITHOUT_KERNELS = frozenset[LayerKind]({"activation", "arithmetic", "conversion", "input", "pooling", "reshape"})


def small_kernels(kernels: Sequence[Kernel]) -> set[str]:
    """Layers with the smallest kernels, which together hold no more than a small share of the weights."""
    sizes: dict[str, int] = {}
    for kernel in kernels:
        sizes[kernel.layer] = sizes.get(kernel.layer, 0) + kernel.rows.size
    left, found = _SMALL * sum(sizes.values()), set[str]()
    for layer in sorted(sizes, key=sizes.__getitem__):
        left -= sizes[layer]
        if left < 0:
            break
        found.add(layer)
    return found


class Weights(Variant):
    """Changes kernels of a model and nothing else.

    Attributes:
        types: What a type of layers is called.
    """

    types: ClassVar[str]
    seeded = False
    keeps_layers = True

    def unsuited(self, parameters: dict[str, Any], layers: Sequence[Layer], facts: Facts) -> Iterator[Problem]:
        """Names that no layer with a kernel has."""
        with_kernels = [layer for layer in layers if layer.parameters or layer.kind not in _WITHOUT_KERNELS]
        yield from selection.unsuited(parameters["exclude"], with_kernels, "layer", self.types)

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Weights in float."""
        return (FLOAT_WEIGHTS,)

    @abstractmethod
    def _open(self, job: TransformJob) -> Any:
        """The model, in the form that the other methods take."""

    @abstractmethod
    def _read(self, model: Any) -> list[Kernel]:
        """The kernels of a model."""

    @abstractmethod
    def _write(self, model: Any, rows: Sequence[NDArray[Any]]) -> None:
        """Put changed kernels back, in the order of `_read`."""

    @abstractmethod
    def _save(self, model: Any, job: TransformJob) -> None:
        """Write ``job.target``."""

    @abstractmethod
    def _norms(self, model: Any, job: TransformJob) -> Mapping[tuple[str, str], NDArray[Any]]:
        """‖x‖₂ of each input of a layer over the calibration examples, by its name and part.

        The shape is (groups, inputs of one output).
        """

    def _changed(self, job: TransformJob, model: Any, kernels: Sequence[Kernel]) -> Sequence[NDArray[Any] | None]:
        """The rows of each kernel as they shall be, in the same order; None for one that stays as it is.

        All stay by default: what does not look at kernels one by one overrides `_apply`.
        """
        del job, model
        return [None for _ in kernels]

    def _apply(self, job: TransformJob) -> None:
        model = self._open(job)
        stay = self._change(job, model)
        self._finish(job, model, stay)

    def _change(self, job: TransformJob, model: Any) -> set[int]:
        """Change the kernels of a model in place; gives the numbers of those that stay as they are.

        Raises:
            UnsupportedModelError: It has none.
        """
        kernels = self._read(model)
        if not kernels:
            raise UnsupportedModelError(
                "The model has no convolution and no matrix product with weights in the file.",
                remedy="use another technique for this model.",
            )
        left = selection.excluded(job["exclude"], self._parts(kernels), "layer", self.types)
        chosen = [number for number, kernel in enumerate(kernels) if kernel.layer not in left]
        changed = self._changed(job, model, [kernels[number] for number in chosen])
        found = {number: rows for number, rows in zip(chosen, changed, strict=True) if rows is not None}
        self._write(model, [found.get(number, kernel.rows) for number, kernel in enumerate(kernels)])
        return set(range(len(kernels))) - found.keys()

    def _finish(self, job: TransformJob, model: Any, stay: set[int]) -> None:
        """Write the file, and note what was changed."""
        kernels = self._read(model)
        self._save(model, job)
        units = [part for number, part in enumerate(self._parts(kernels)) if number not in stay]
        job.notes |= zeros(kernels) | {
            "left_dense": sorted({kernels[number].layer for number in stay}),
            UNITS: selection.units(units, set()),
        }

    def _parts(self, kernels: Sequence[Kernel]) -> list[selection.Selectable]:
        form = FORMATS.get(self.produces)
        return [
            selection.Selectable(k.layer, k.type, k.rows.size, kind=form.kind_of(Layer(k.layer, k.type)))
            for k in kernels
        ]


def zeros(kernels: Sequence[Kernel]) -> dict[str, Any]:
    """Notes of the share of zeros, in all and by layer."""
    import numpy as np

    counts: dict[str, list[int]] = {}
    for kernel in kernels:
        count = counts.setdefault(kernel.layer, [0, 0])
        count[0] += int(np.count_nonzero(kernel.rows == 0))
        count[1] += kernel.rows.size
    total = sum(size for _, size in counts.values())
    return {
        "sparsity": round(sum(zero for zero, _ in counts.values()) / total, 4),
        "sparsity_by_layer": {layer: round(zero / size, 4) for layer, (zero, size) in counts.items()},
        "prunable_weights": total,
    }

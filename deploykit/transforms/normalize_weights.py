"""Weight normalization: the weights of each output get the same size, so that one scale per tensor suits all."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.parameter import Parameter
from deploykit.core.problem import Effect, Facts, Problem
from deploykit.surgery import selection
from deploykit.transforms._contract import QUANTIZE, UNITS, Transform, TransformJob
from deploykit.transforms._weights.keras import KerasWeights
from deploykit.transforms._weights.kernels import Weights
from deploykit.transforms._weights.onnx import OnnxWeights, float_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.surgery.weights.kernel import Kernel


class _Normalizing(Weights):
    help = "Divides the weights of each output of convolutions and matrix products by the sum of their sizes."
    uses = ("fold", "exclude")

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Other scales."""
        return frozenset({"rescaled"})

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """The plain formula changes what the model computes."""
        yield from super().problems(parameters, facts)
        if not parameters["fold"]:
            yield Problem("note", "without fold, the model computes something else: fine-tune or distill it afterwards")

    @abstractmethod
    def _folded(self, job: TransformJob) -> None:
        """Write the model with its scales folded into the next layers, by `_divide`."""

    def _apply(self, job: TransformJob) -> None:
        if job["fold"]:
            self._folded(job)
        else:
            super()._apply(job)

    def _divide(
        self, job: TransformJob, parts: Sequence[selection.Selectable], ways: Iterable[tuple[str, Callable[[], str]]]
    ) -> None:
        """Divide one layer after the other.

        Args:
            job: Has the settings; gets the notes.
            parts: The layers.
            ways: For each its name, and what divides it and gives the reason why it stays as it is.
        """
        left = selection.excluded(job["exclude"], parts, "layer", self.types)
        stay = {name: reason for name, divide in ways if name not in left and (reason := divide())}
        if stay.keys() | left == {part.name for part in parts}:
            some = "; ".join(f"{name}: {reason}" for name, reason in list(stay.items())[:3]) or "all are left out"
            raise UnsupportedModelError(
                f"No layer of the model can be normalized without changing what it computes ({some}).",
                remedy="use fold=False for the plain formula, or leave normalize_weights out for this model.",
            )
        job.notes |= {"not_normalized": stay, UNITS: selection.units(parts, left | set(stay))}

    def _changed(self, job: TransformJob, model: Any, kernels: Sequence[Kernel]) -> Sequence[NDArray[Any]]:
        return [(kernel.rows / norms(kernel.rows)[:, None]).astype(kernel.rows.dtype) for kernel in kernels]


class _Keras(_Normalizing, KerasWeights):
    name = "keras"
    label = "weight normalization (Keras)"

    def _folded(self, job: TransformJob) -> None:
        from deploykit.surgery.weights import keras_scales

        model = self._open(job)
        scales = keras_scales.Scales(model.flat)
        steps = [layer.node for layer in scales.layers()]
        kernels = {(kernel.layer, kernel.part): kernel for kernel in self._read(model)}
        parts = self._parts([kernels[step.name, step.part] for step in steps])
        self._divide(job, parts, ((step.name, partial(scales.divide, step, norms)) for step in steps))
        self._save(model, job)


class _Onnx(_Normalizing, OnnxWeights):
    name = "onnx"
    label = "weight normalization (ONNX)"

    def _folded(self, job: TransformJob) -> None:
        from deploykit.surgery.channels.onnx_axes import Traced
        from deploykit.surgery.weights import onnx_scales

        traced = Traced(float_model(job))
        scales = onnx_scales.Scales(traced.model, traced.shapes)
        layers = [layer for node in traced.model.graph.node if (layer := scales.layer(node)) is not None]
        parts = [selection.Selectable(x.node.name, x.node.op_type, int(x.weights.size)) for x in layers]

        def divided(node: Any) -> str:
            layer = scales.layer(node)  # with what the layers before have passed on to it
            return "" if layer is None else scales.divide(layer, norms)

        self._divide(job, parts, ((layer.node.name, partial(divided, layer.node)) for layer in layers))
        self._save(traced.model, job)


def norms(rows: NDArray[Any]) -> NDArray[Any]:
    """‖w‖₁ of each row, 1 where all of its weights are 0; shape (outputs,), float64."""
    import numpy as np

    sums: NDArray[Any] = np.abs(rows).sum(1, dtype=np.float64)
    sums[sums == 0] = 1.0
    return sums


class NormalizeWeights(Transform):
    """The weights of each output are divided by the sum of their sizes."""

    name = "normalize_weights"
    label = "weight normalization"
    help = (
        "Divides the weights of each output by their l1 norm and multiplies them back in the next layer, so that the "
        "model computes the same. Neither smaller nor faster by itself: int8 with one scale per tensor loses less when "
        "all outputs have weights of one size."
    )
    family = QUANTIZE
    parameters = (
        Parameter(
            "fold", "bool", True,
            "Multiply the scale back in the next layer; layers where that is not possible stay as they are and are "
            "listed. Off: w/‖w‖₁ alone, which changes what the model computes.",
            label="fold scales",
        ),
        selection.setting("layers", "layer or operator types", "are not normalized"),
    )  # fmt: skip
    variants = (_Keras(), _Onnx())
    excluding = "exclude"


ADAPTER = NormalizeWeights()

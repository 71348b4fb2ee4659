"""Pruning by weight × activation: weights that are small, or multiplied with small inputs, become zero."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.parameter import Parameter
from deploykit.core.problem import Effect
from deploykit.surgery import selection
from deploykit.transforms._conditions import Condition, Zeros
from deploykit.transforms._contract import PRUNE, Transform, TransformJob
from deploykit.transforms._weights.keras import KerasWeights
from deploykit.transforms._weights.kernels import Weights, small_kernels
from deploykit.transforms._weights.onnx import OnnxWeights
from deploykit.transforms._weights.settings import SMALL_LAYERS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.surgery.weights.kernel import Kernel


class _Pruning(Weights):
    help = "One pass over the calibration examples; no labels, no training."
    uses = ("sparsity", "pattern", "small_layers", "exclude")
    needs = ("calibration",)
    seeded = True

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Zeros."""
        return frozenset({"sparse"} if parameters["sparsity"] or parameters["pattern"] != "unstructured" else ())

    def ensures(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """About the share of zeros: rows are rounded one by one."""
        exact = parameters["pattern"] == "unstructured"
        return (*super().ensures(parameters), *((Zeros(0.8 * parameters["sparsity"]),) if exact else ()))

    def _changed(self, job: TransformJob, model: Any, kernels: Sequence[Kernel]) -> Sequence[NDArray[Any] | None]:
        import numpy as np

        from deploykit.surgery.weights.kernel import parse_pattern, weakest_in_blocks, weakest_in_rows

        norms = self._norms(model, job)
        pattern = parse_pattern(job["pattern"])
        spared = set() if job["small_layers"] else small_kernels(kernels)
        found: list[NDArray[Any] | None] = []
        for kernel in kernels:
            groups = norms.get((kernel.layer, kernel.part))
            if kernel.layer in spared or groups is None:  # what some layers multiply is not seen from outside
                found.append(None)
                continue
            each = np.repeat(groups, len(kernel.rows) // len(groups), axis=0)
            scores = np.abs(kernel.rows) * each
            if pattern:
                gone = weakest_in_blocks(scores, *pattern, kernel.places)
            else:
                gone = weakest_in_rows(scores, job["sparsity"])
            found.append(np.where(gone, np.float32(0.0), kernel.rows))
        if all(rows is None for rows in found):
            raise UnsupportedModelError(
                "No layer of the model can be pruned by what it multiplies: its kernels are inside layers such as "
                "recurrent ones or attention, or are left out.",
                remedy="use prune_magnitude, or another technique, for this model.",
            )
        return found


class _Keras(_Pruning, KerasWeights):
    name = "keras"
    label = "weight × activation pruning (Keras)"


class _Onnx(_Pruning, OnnxWeights):
    name = "onnx"
    label = "weight × activation pruning (ONNX)"


class PruneWeightActivation(Transform):
    """The weights with the smallest |w|·‖x‖ of each output become zero."""

    name = "prune_weight_activation"
    label = "weight × activation pruning"
    help = (
        "Sets the weights with the smallest product of weight and input to zero, output by output: what meets large "
        "inputs stays. Needs no training. Makes the compressed file smaller. No runtime here skips single zeros, so it "
        "is no faster."
    )
    family = PRUNE
    parameters = (
        Parameter(
            "sparsity", "float", 0.5, "Share of the weights of each output that become zero.", minimum=0.0,
            maximum=0.99, step=0.05, unit="share", shown=True,
        ),
        Parameter(
            "pattern", "choice", "unstructured",
            "N:M keeps N of every M weights along the inputs; the sparsity is then 1 − N/M.",
            choices=("unstructured", "1:2", "1:4", "2:4", "4:8"), replaces="sparsity",
        ),
        SMALL_LAYERS,
        selection.setting("layers", "layer or operator types", "stay dense"),
    )  # fmt: skip
    variants = (_Keras(), _Onnx())
    excluding = "exclude"


ADAPTER = PruneWeightActivation()

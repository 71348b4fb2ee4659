"""Pruning by activation: neurons and channels that hardly answer, or mostly answer 0, become zero as a whole."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.parameter import Parameter, Value
from deploykit.core.problem import Effect
from deploykit.loading._onnx_parts import initializers
from deploykit.surgery import selection
from deploykit.surgery.channels.onnx_axes import drop_unread
from deploykit.surgery.layers.onnx_chains import chains, silence, sizes
from deploykit.surgery.weights.kernel import Kernel
from deploykit.transforms._conditions import Condition, Zeros
from deploykit.transforms._contract import PRUNE, Transform, TransformJob
from deploykit.transforms._onnx_examples import examples_of
from deploykit.transforms._onnx_weights import OnnxWeights

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Onnx(OnnxWeights):
    name = "onnx"
    label = "activation pruning (ONNX)"
    help = "One pass over the calibration examples; no labels, no training."
    uses = ("sparsity", "measure", "exclude")
    needs = ("calibration",)

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Zeros."""
        return frozenset({"sparse"} if parameters["sparsity"] else ())

    def ensures(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """The share of zeros; of two neurons, one stays."""
        return (*super().ensures(parameters), Zeros(min(0.5, parameters["sparsity"])))

    def _changed(self, job: TransformJob, model: Any, kernels: Sequence[Kernel]) -> Sequence[NDArray[Any] | None]:
        import numpy as np

        constants = initializers(model.graph)
        reads = [name for node in model.graph.node for name in node.input]
        layers = {
            chain.layer.node.name: chain
            for chain in chains(model.graph, constants)
            if not chain.gives and reads.count(chain.layer.node.input[1]) == 1
        }
        measured = sizes(model, examples_of(model, job))
        found: list[NDArray[Any] | None] = []
        for kernel in kernels:
            chain = layers.get(kernel.layer)
            if chain is None or len(kernel.rows) < 2:
                found.append(None)
                continue
            mean, busy = measured[kernel.layer]
            order = np.lexsort((mean, busy)) if job["measure"] == "zeros" else np.argsort(mean, kind="stable")
            gone = np.zeros(len(order), bool)
            gone[order[: quiet(len(order), job["sparsity"])]] = True
            silence(model, chain, gone)
            found.append(np.where(gone[:, None], np.float32(0.0), kernel.rows))
        drop_unread(model.graph)
        if all(rows is None for rows in found):
            raise UnsupportedModelError(
                "No neuron of the model can be pruned: its layers give outputs of the model, share their weights, or "
                "are left out.",
                remedy="use another technique for this model.",
            )
        return found


def quiet(count: int, share: float) -> int:
    """How many of some neurons a share takes, at least so many; one stays."""
    return min(count - 1, math.ceil(round(count * share, 9)))


class PruneActivation(Transform):
    """Neurons and channels with the smallest activations become zero."""

    name = "prune_activation"
    label = "activation pruning"
    help = (
        "Sets the weights and biases of the neurons and channels to zero that answer least on calibration data. Makes "
        "the compressed file smaller. No runtime here skips zeros, so it is no faster: prune_channels with "
        "criterion=activation removes channels."
    )
    family = PRUNE
    parameters = (
        Parameter(
            "sparsity", "float", 0.25, "Share of each layer's neurons or channels that become zero.", minimum=0.0,
            maximum=0.99, step=0.05, unit="share", shown=True,
        ),
        Parameter(
            "measure", "choice", "mean",
            "What decides which go. mean: the smallest mean size of the activation; zeros: the largest share of "
            "activations that are exactly 0 (APoZ), for networks with ReLU; of equal ones, the smallest mean.",
            choices=("mean", "zeros"),
        ),
        selection.setting("layers", "operator types", "stay dense"),
    )  # fmt: skip
    variants = (_Onnx(),)
    excluding = "exclude"
    careful: ClassVar[dict[str, Value]] = {"sparsity": 0.1}


ADAPTER = PruneActivation()

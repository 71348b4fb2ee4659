"""Pruning by activation: neurons and channels that hardly answer, or mostly answer 0, become zero as a whole."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.parameter import Parameter, Value
from deploykit.core.problem import Effect
from deploykit.surgery import selection
from deploykit.transforms._conditions import Condition, Zeros
from deploykit.transforms._contract import PRUNE, Transform, TransformJob
from deploykit.transforms._weights.keras import KerasWeights, Opened
from deploykit.transforms._weights.kernels import Weights
from deploykit.transforms._weights.onnx import OnnxWeights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.surgery.weights.kernel import Kernel


class _Pruning(Weights):
    help = "One pass over the calibration examples; no labels, no training."
    uses = ("sparsity", "measure", "exclude")
    needs = ("calibration",)

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Zeros."""
        return frozenset({"sparse"} if parameters["sparsity"] else ())

    def ensures(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """The share of zeros; of two neurons, one stays."""
        return (*super().ensures(parameters), Zeros(min(0.5, parameters["sparsity"])))

    @abstractmethod
    def _chains(self, model: Any) -> dict[tuple[str, str], Any]:
        """The layers whose outputs can be silenced, with what belongs to them, by name and part."""

    @abstractmethod
    def _sizes(self, model: Any, job: TransformJob) -> dict[tuple[str, str], tuple[NDArray[Any], NDArray[Any]]]:
        """Mean |activation| and share of activations that are not 0, of each output of every layer."""

    @abstractmethod
    def _silence(self, model: Any, chain: Any, gone: NDArray[Any]) -> None:
        """Set what is added to some outputs of a layer to 0."""

    def _changed(self, job: TransformJob, model: Any, kernels: Sequence[Kernel]) -> Sequence[NDArray[Any] | None]:
        import numpy as np

        layers, measured = self._chains(model), self._sizes(model, job)
        found: list[NDArray[Any] | None] = []
        for kernel in kernels:
            chain = layers.get((kernel.layer, kernel.part))
            if chain is None or len(kernel.rows) < 2:
                found.append(None)
                continue
            mean, busy = measured[kernel.layer, kernel.part]
            order = np.lexsort((mean, busy)) if job["measure"] == "zeros" else np.argsort(mean, kind="stable")
            gone = np.zeros(len(order), bool)
            gone[order[: quiet(len(order), job["sparsity"])]] = True
            self._silence(model, chain, gone)
            found.append(np.where(gone[:, None], np.float32(0.0), kernel.rows))
        if all(rows is None for rows in found):
            raise UnsupportedModelError(
                "No neuron of the model can be pruned: its layers give outputs of the model, share their weights, or "
                "are left out.",
                remedy="use another technique for this model.",
            )
        return found


class _Keras(_Pruning, KerasWeights):
    name = "keras"
    label = "activation pruning (Keras)"

    def _chains(self, model: Opened) -> dict[tuple[str, str], Any]:
        from deploykit.surgery.layers import keras_chains

        return {(c.step.name, c.step.part): c for c in keras_chains.chains(model.flat) if not c.gives and c.once}

    def _sizes(self, model: Opened, job: TransformJob) -> dict[tuple[str, str], tuple[NDArray[Any], NDArray[Any]]]:
        from deploykit.surgery.layers import keras_chains

        return keras_chains.sizes(model.flat, model.examples(job))

    def _silence(self, model: Opened, chain: Any, gone: NDArray[Any]) -> None:
        from deploykit.surgery.layers import keras_chains

        keras_chains.silence(chain, gone)


class _Onnx(_Pruning, OnnxWeights):
    name = "onnx"
    label = "activation pruning (ONNX)"

    def _chains(self, model: Any) -> dict[tuple[str, str], Any]:
        from deploykit.loading._onnx.parts import initializers
        from deploykit.surgery.layers import onnx_chains

        reads = [name for node in model.graph.node for name in node.input]
        found = onnx_chains.chains(model.graph, initializers(model.graph))
        return {(c.layer.node.name, ""): c for c in found if not c.gives and reads.count(c.layer.node.input[1]) == 1}

    def _sizes(self, model: Any, job: TransformJob) -> dict[tuple[str, str], tuple[NDArray[Any], NDArray[Any]]]:
        from deploykit.surgery.layers import onnx_chains
        from deploykit.transforms._examples.onnx import examples_of

        found = onnx_chains.sizes(model, examples_of(model, job))
        return {(name, ""): pair for name, pair in found.items()}

    def _silence(self, model: Any, chain: Any, gone: NDArray[Any]) -> None:
        from deploykit.surgery.layers import onnx_chains

        onnx_chains.silence(model, chain, gone)

    def _save(self, model: Any, job: TransformJob) -> None:
        from deploykit.surgery.channels.onnx_axes import drop_unread

        drop_unread(model.graph)
        super()._save(model, job)


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
        selection.setting("layers", "layer or operator types", "stay dense"),
    )  # fmt: skip
    variants = (_Keras(), _Onnx())
    excluding = "exclude"
    careful: ClassVar[dict[str, Value]] = {"sparsity": 0.1}


ADAPTER = PruneActivation()

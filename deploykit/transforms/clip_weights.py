"""Weight clipping: outliers among the weights are cut off, so that eight bits resolve the others better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.core.parameter import Parameter, Value
from deploykit.surgery import selection
from deploykit.transforms._contract import QUANTIZE, Transform, TransformJob
from deploykit.transforms._weights.keras import KerasWeights
from deploykit.transforms._weights.kernels import Weights
from deploykit.transforms._weights.onnx import OnnxWeights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.surgery.weights.kernel import Kernel


class _Clipping(Weights):
    help = "Clips the kernels of convolutions and matrix products; biases stay as they are."
    uses = ("limit", "percentile", "exclude")

    def _changed(self, job: TransformJob, model: Any, kernels: Sequence[Kernel]) -> Sequence[NDArray[Any]]:
        import numpy as np

        found = []
        for kernel in kernels:
            limit = job["limit"]
            if limit is None:
                limit = float(np.percentile(np.abs(kernel.rows), job["percentile"]))
            found.append(np.clip(kernel.rows, -np.float32(limit), np.float32(limit)))
        return found


class _Keras(_Clipping, KerasWeights):
    name = "keras"
    label = "weight clipping (Keras)"


class _Onnx(_Clipping, OnnxWeights):
    name = "onnx"
    label = "weight clipping (ONNX)"


class ClipWeights(Transform):
    """Weights beyond a limit are set to it."""

    name = "clip_weights"
    label = "weight clipping"
    help = (
        "Cuts off the largest weights of each layer. Neither smaller nor faster by itself: int8 with one scale per "
        "tensor loses less when there are no outliers."
    )
    family = QUANTIZE
    parameters = (
        Parameter(
            "limit", "float", None, "Largest size of a weight; by default it follows from the percentile.", minimum=0.0,
            replaces="percentile",
        ),
        Parameter(
            "percentile", "float", 99.9, "Share of each layer's weights that stay as they are, in percent.",
            minimum=50.0, maximum=100.0, step=0.1, shown=True,
        ),
        selection.setting("layers", "layer or operator types", "are not clipped"),
    )  # fmt: skip
    variants = (_Keras(), _Onnx())
    excluding = "exclude"
    careful: ClassVar[dict[str, Value]] = {"percentile": 99.99}


ADAPTER = ClipWeights()

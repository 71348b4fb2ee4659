"""Weight clustering: the weights of each layer share a few values, so that the file compresses well."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.core.parameter import Parameter, Value
from deploykit.surgery import selection
from deploykit.transforms._contract import QUANTIZE, Transform, TransformJob
from deploykit.transforms._weights.keras import ABSORBS
from deploykit.transforms._weights.onnx import OnnxWeights
from deploykit.transforms._weights.sharing import SharedKeras, SharedWeights

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Clustering(SharedWeights):
    help = "Clusters the kernels of convolutions and matrix products; biases stay as they are."
    uses = ("clusters", "initialization", "iterations", "exclude")
    seeded = True  # k-means++ draws its starts

    def _most(self, parameters: dict[str, Any]) -> int | None:
        return int(parameters["clusters"])

    def _shared(self, job: TransformJob, rows: NDArray[Any]) -> NDArray[Any]:
        from deploykit.surgery.weights.clusters import clustered

        return clustered(rows, job["clusters"], job["initialization"], job["iterations"], job.seed)

    def _packed(self, job: TransformJob, rows: NDArray[Any]) -> float:
        import numpy as np

        values = len(np.unique(rows))
        return rows.size * math.ceil(math.log2(values)) / 8 + values * rows.itemsize


class _Onnx(_Clustering, OnnxWeights):
    name = "onnx"
    label = "weight clustering (ONNX)"


class _Keras(_Clustering, SharedKeras):
    name = "keras"
    label = "weight clustering (Keras)"
    help = f"{_Clustering.help} {ABSORBS}"


class ClusterWeights(Transform):
    """The weights of each layer are replaced by a few values."""

    name = "cluster_weights"
    label = "weight clustering"
    help = (
        "Replaces the weights of each layer by a few shared values, found by k-means; zeros of a step before stay "
        "zero. Makes the compressed file smaller. No runtime here computes with shared values, so it is no faster."
    )
    family = QUANTIZE
    parameters = (
        Parameter(
            "clusters", "int", 32,
            "Values that the weights of a layer share, zero included where a step before has set weights to zero.",
            minimum=2, maximum=256, step=1, shown=True,
        ),
        Parameter(
            "initialization", "choice", "kmeans++",
            "Where k-means begins. kmeans++: weights far from each other, which mostly ends with the least error; "
            "linear: evenly spaced between the smallest and the largest, which keeps large weights; density: as many "
            "weights between any two.",
            choices=("kmeans++", "linear", "density"),
        ),
        Parameter(
            "iterations", "int", 300, "Rounds of k-means at most; it ends sooner once no value moves. 0 keeps the "
            "values that it would begin with.",
            minimum=0, maximum=10_000, step=1,
        ),
        selection.setting("layers", "layer or operator types", "are not clustered"),
    )  # fmt: skip
    variants = (_Onnx(), _Keras())
    excluding = "exclude"
    careful: ClassVar[dict[str, Value]] = {"clusters": 128}


ADAPTER = ClusterWeights()

"""What techniques share that change the weights of ONNX files one kernel at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.surgery import selection
from deploykit.surgery.channels import onnx_axes
from deploykit.surgery.quantization import graphs, prepare
from deploykit.surgery.weights import onnx_kernels
from deploykit.surgery.weights.kernel import Kernel
from deploykit.transforms._conditions import Condition, Without
from deploykit.transforms._contract import UNITS, TransformJob, Variant

if TYPE_CHECKING:
    from numpy.typing import NDArray

REQUIRES = ("onnx", "onnxruntime")
#: Files of stages.
GRAPH = "plain.onnx"


#: Share of the weights in the layers that are spared by default: mostly the first and the last one, which suffer most.
_SMALL = 0.01


def small_kernels(kernels: Sequence[Kernel]) -> set[str]:
    """Layers with the smallest kernels, which together hold no more than a small share of the weights."""
    left, found = _SMALL * sum(k.rows.size for k in kernels), set[str]()
    for kernel in sorted(kernels, key=lambda k: k.rows.size):
        left -= kernel.rows.size
        if left < 0:
            break
        found.add(kernel.layer)
    return found


def float_model(job: TransformJob) -> Any:
    """The model as a ``ModelProto`` whose nodes have names.

    Raises:
        UnsupportedModelError: It is quantized; names the operators.
    """
    model = require("onnx", "").load(str(job.source))
    nodes = zip(model.graph.node, graphs.integer_nodes(model.graph), strict=True)
    if marks := sorted({node.op_type for node, integer in nodes if integer}):
        raise UnsupportedModelError(
            f"The model is already quantized: it has {', '.join(marks)}.",
            remedy="start from the float model it was made from, and quantize afterwards.",
        )
    return onnx_axes.plain(model)


class OnnxWeights(Variant):
    """Changes kernels of an ONNX graph and nothing else."""

    requires = REQUIRES
    accepts = frozenset({"onnx"})
    produces = "onnx"
    seeded = False

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Weights in float."""
        return (Without("quantized", "already quantized", "quantize last", "start from the float model"),)

    @abstractmethod
    def _changed(self, job: TransformJob, model: Any, kernels: Sequence[Kernel]) -> Sequence[NDArray[Any] | None]:
        """The rows of each kernel as they shall be, in the same order; None for one that stays as it is."""

    def _apply(self, job: TransformJob) -> None:
        import numpy as np

        onnx = require("onnx", "")
        model = float_model(job)
        kernels = onnx_kernels.read(model)
        if not kernels:
            raise UnsupportedModelError(
                "The model has no convolution and no matrix product with weights in the file.",
                remedy="use another technique for this model.",
            )
        parts = [selection.Selectable(k.layer, k.type, k.rows.size) for k in kernels]
        left = selection.excluded(job["exclude"], parts, "layer", "operator")
        chosen = [kernel for kernel in kernels if kernel.layer not in left]
        found = dict(zip([k.layer for k in chosen], self._changed(job, model, chosen), strict=True))
        left |= {name for name, changed in found.items() if changed is None}
        rows = [kernel.rows if (new := found.get(kernel.layer)) is None else new for kernel in kernels]
        onnx_kernels.write(model, rows)
        onnx.save(model, str(job.target))
        prepare.check_opens(job.target)
        zeros = [int(np.count_nonzero(r == 0)) for r in rows]
        by_layer = {k.layer: round(z / k.rows.size, 4) for k, z in zip(kernels, zeros, strict=True)}
        job.notes |= {
            "sparsity": round(sum(zeros) / sum(k.rows.size for k in kernels), 4),
            "sparsity_by_layer": by_layer,
            "prunable_weights": sum(k.rows.size for k in kernels),
            "left_dense": sorted(left & {k.layer for k in kernels}),
            UNITS: selection.units(parts, left),
        }

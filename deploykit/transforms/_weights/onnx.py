"""What techniques share that change the weights of ONNX files one kernel at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.transforms._contract import TransformJob
from deploykit.transforms._weights.kernels import Weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.surgery.weights.kernel import Kernel

REQUIRES = ("onnx", "onnxruntime")
#: Files of stages.
GRAPH = "plain.onnx"


def float_model(job: TransformJob) -> Any:
    """The model as a ``ModelProto`` whose nodes have names.

    Raises:
        UnsupportedModelError: It is quantized; names the operators.
    """
    from deploykit.surgery.channels import onnx_axes
    from deploykit.surgery.quantization import graphs

    model = require("onnx", "").load(str(job.source))
    nodes = zip(model.graph.node, graphs.integer_nodes(model.graph), strict=True)
    if marks := sorted({node.op_type for node, integer in nodes if integer}):
        raise UnsupportedModelError(
            f"The model is already quantized: it has {', '.join(marks)}.",
            remedy="start from the float model it was made from, and quantize afterwards.",
        )
    return onnx_axes.plain(model)


class OnnxWeights(Weights):
    """Changes kernels of an ONNX graph and nothing else."""

    requires: ClassVar[tuple[str, ...]] = REQUIRES
    accepts = frozenset({"onnx"})
    produces = "onnx"
    types = "operator"

    def _open(self, job: TransformJob) -> Any:
        return float_model(job)

    def _read(self, model: Any) -> list[Kernel]:
        from deploykit.surgery.weights import onnx_kernels

        return onnx_kernels.read(model)

    def _write(self, model: Any, rows: Sequence[NDArray[Any]]) -> None:
        from deploykit.surgery.weights import onnx_kernels

        onnx_kernels.write(model, rows)

    def _save(self, model: Any, job: TransformJob) -> None:
        from deploykit.surgery.quantization import prepare

        require("onnx", "").save(model, str(job.target))
        prepare.check_opens(job.target)

    def _norms(self, model: Any, job: TransformJob) -> Mapping[tuple[str, str], NDArray[Any]]:
        from deploykit.surgery.reconstruction.onnx_damage import input_norms
        from deploykit.transforms._examples.onnx import examples_of

        return {(name, ""): norms for name, norms in input_norms(model, examples_of(model, job)).items()}

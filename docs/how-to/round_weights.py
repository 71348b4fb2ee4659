"""A technique in one file: round weights to fewer significant bits, so that the file compresses better."""

from __future__ import annotations

from typing import Any

from deploykit.core.extras import require
from deploykit.core.parameter import Parameter
from deploykit.transforms._contract import Family, Transform, TransformJob, Variant


class _Onnx(Variant):
    name = "round_onnx"
    label = "rounded weights (ONNX)"
    help = "Rounds every float32 initializer of the graph."
    requires = ("onnx",)
    accepts = frozenset({"onnx"})
    produces = "onnx"
    uses = ("bits",)
    seeded = False

    def _apply(self, job: TransformJob) -> None:
        onnx = require("onnx", "")
        model = onnx.load(str(job.source))
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                values = _rounded(onnx.numpy_helper.to_array(tensor), job["bits"])
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        onnx.save(model, str(job.target))


def _rounded(values: Any, bits: int) -> Any:
    """The values with ``bits`` significant bits."""
    import numpy as np

    fraction, exponent = np.frexp(values)
    return np.ldexp(np.round(fraction * 2**bits) / 2**bits, exponent).astype(np.float32)


class RoundWeights(Transform):
    """Rounds weights to fewer significant bits."""

    name = "round_weights"
    label = "rounded weights"
    help = "Makes the compressed file smaller; the arithmetic stays float32, so it is not faster."
    family = Family("rounding", "triangle-down", 30)
    parameters = (
        Parameter("bits", "int", 8, "Significant bits that are kept.", minimum=1, maximum=24, unit="bits", shown=True),
    )
    variants = (_Onnx(),)


ADAPTER = RoundWeights()

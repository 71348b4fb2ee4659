"""Float16 weights: half the size, the same arithmetic."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from deploykit.core.extras import require
from deploykit.core.problem import Effect, Facts
from deploykit.transforms._conditions import FLOAT_LAYERS, Condition
from deploykit.transforms._contract import QUANTIZE, Transform, TransformJob, Variant


class _TFLite(Variant):
    name = "tflite"
    label = "float16 (TFLite)"
    help = "Stores weights as float16; XNNPACK widens them to float32 when the model is loaded."
    extra = "tensorflow"
    requires = ("tensorflow",)
    group = "tensorflow"
    accepts = frozenset({"saved_model"})
    produces = "tflite"
    seeded = False

    def bytes_a_weight(self, parameters: dict[str, Any], facts: Facts) -> float:
        """Two."""
        return 2.0

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Weights in half precision."""
        return frozenset({"float16", "quantized", "fully quantized"})

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Layers in float."""
        return (FLOAT_LAYERS,)

    def _apply(self, job: TransformJob) -> None:
        from deploykit.surgery.quantization import tflite

        tf = require("tensorflow", self.extra)

        def setup(converter: Any) -> None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]

        tflite.quantize(job, setup)


class QuantizeFloat16(Transform):
    """Stores the weights in half precision."""

    name = "quantize_float16"
    label = "float16"
    help = (
        "Halves the file size at next to no loss of accuracy; no faster on the x86 CPUs it was measured on. For TFLite "
        "only: ONNX Runtime has no float16 arithmetic on CPUs and converts back and forth at every operator."
    )
    family = QUANTIZE
    variants = (_TFLite(),)


ADAPTER = QuantizeFloat16()

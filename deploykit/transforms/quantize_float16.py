"""Weights of 16 bits: half the size, and the same arithmetic unless a runtime computes in bfloat16."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.model import Layer
from deploykit.core.parameter import Parameter
from deploykit.core.problem import Effect, Facts, Problem
from deploykit.transforms import _programs
from deploykit.transforms._conditions import FLOAT_LAYERS, Condition, Without
from deploykit.transforms._contract import QUANTIZE, Transform, TransformJob, Variant


class _Half(Variant):
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


class _Onnx(_Half):
    name = "onnx"
    label = "16-bit weights (ONNX)"
    help = "Stores weights in 16 bits, with a Cast to float32 that runtimes fold when they load the model."
    requires = ("onnx", "onnxruntime")
    accepts = frozenset({"onnx"})
    produces = "onnx"
    uses = ("type",)

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Weights in half precision; in bfloat16, OpenVINO computes."""
        if parameters["type"] == "float16":
            return super().effects(parameters)
        return frozenset({"bfloat16", "quantized", "fully quantized"})

    def _apply(self, job: TransformJob) -> None:
        from deploykit.surgery.quantization import normal, prepare, stored

        onnx = require("onnx", "")
        model, note = normal.raised(onnx.load(str(job.source)))  # Cast of bfloat16 is as new as scales for channels
        job.notes |= {"operator_set": note} if note else {}
        count, beyond = stored.narrow(model, job["type"])
        if not count:
            raise UnsupportedModelError(
                "The model has no weights in float32 to store in 16 bits.", remedy="skip this technique for the model."
            )
        if beyond:
            job.notes["stays_float"] = dict.fromkeys(beyond, f"{job['type']} cannot hold some of its numbers")
        if job["type"] == "bfloat16":
            stored.compute_in(model, "bfloat16")
        onnx.save(model, str(job.target))
        prepare.check_opens(job.target)


class _TFLite(_Half):
    name = "tflite"
    label = "float16 (TFLite)"
    help = "Stores weights as float16; XNNPACK widens them to float32 when the model is loaded."
    extra = "tensorflow"
    requires = ("tensorflow",)
    group = "tensorflow"
    accepts = frozenset({"saved_model"})
    produces = "tflite"

    def _apply(self, job: TransformJob) -> None:
        from deploykit.surgery.quantization import tflite

        tf = require("tensorflow", self.extra)

        def setup(converter: Any) -> None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]

        tflite.quantize(job, setup)


class _PyTorch(_Half):
    name = "pytorch"
    label = "half precision (PyTorch)"
    help = "Stores weights in 16 bits and computes in them; inputs and outputs stay float32."
    extra = "torch"
    requires = ("torch",)
    group = "torch"
    accepts = frozenset({"pytorch"})
    produces = "pytorch"
    uses = ("type",)

    def unsuited(self, parameters: dict[str, Any], layers: Sequence[Layer], facts: Facts) -> Iterator[Problem]:
        """TorchScript."""
        yield from _programs.unsuited(layers)

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Weights and arithmetic in half precision."""
        return frozenset({parameters["type"], "quantized", "fully quantized"})

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Layers in float, not yet marked to be compiled."""
        return (
            FLOAT_LAYERS,
            Without("compiled", "to be compiled already", "compile last"),
            Without("quantized", "quantized in part, and scales of integers must stay float32"),
        )

    def _apply(self, job: TransformJob) -> None:
        from deploykit.surgery.torch_programs import narrow

        narrow(job.source, job.target, job["type"])


class QuantizeFloat16(Transform):
    """Stores the weights in half precision."""

    name = "quantize_float16"
    label = "float16"
    help = (
        "Halves the file size at next to no loss of accuracy. It is no faster on CPUs, where weights are widened to "
        "float32 when a model is loaded, but for bfloat16: OpenVINO computes in it where the CPU can, which took half "
        "the time on EfficientNet-Lite0. PyTorch computes in either type, on a GPU or a CPU that has it."
    )
    family = QUANTIZE
    parameters = (
        Parameter(
            "type", "choice", "float16",
            "float16, or in ONNX and PyTorch files bfloat16: it has the range of float32 and 8 bits of precision "
            "instead of 11, which costs some accuracy, and OpenVINO computes in it on CPUs with AVX512-BF16 or AMX.",
            choices=("float16", "bfloat16"), binding=True,
        ),
    )  # fmt: skip
    variants = (_Onnx(), _TFLite(), _PyTorch())


ADAPTER = QuantizeFloat16()

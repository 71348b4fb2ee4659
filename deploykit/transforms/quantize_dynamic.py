"""Dynamic int8: weights are quantized in the file, activations while the model runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from deploykit.core.extras import require
from deploykit.core.layers.kinds import CONVOLUTIONS
from deploykit.core.model import Layer
from deploykit.core.parameter import Parameter, Value
from deploykit.core.problem import Effect, Facts, Problem
from deploykit.transforms import _programs
from deploykit.transforms._conditions import FLOAT_LAYERS, Condition
from deploykit.transforms._contract import QUANTIZE, UNITS, Transform, TransformJob, Variant
from deploykit.transforms._quantizing import settings, stages


class _TFLite(Variant):
    name = "tflite"
    label = "int8 dynamic (TFLite)"
    help = "Dynamic range quantization: int8 weights per channel; XNNPACK quantizes the activations of heavy operators."
    extra = "tensorflow"
    requires = ("tensorflow",)
    group = "tensorflow"
    accepts = frozenset({"saved_model"})
    produces = "tflite"
    seeded = False

    def bytes_a_weight(self, parameters: dict[str, Any], facts: Facts) -> float:
        """Integers of 8 bits."""
        return 1.0

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Weights of 8 bits."""
        return frozenset({"quantized", "fully quantized"})

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Layers in float."""
        return (FLOAT_LAYERS,)

    def _apply(self, job: TransformJob) -> None:
        from deploykit.surgery.quantization import tflite

        tf = require("tensorflow", self.extra)

        def setup(converter: Any) -> None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]

        tflite.quantize(job, setup)


class _OnnxRuntime(Variant):
    name = "onnxruntime"
    label = "int8 dynamic (ONNX Runtime)"
    help = "Integer matrix products, and convolutions if requested."
    requires = stages.REQUIRES
    accepts = stages.ACCEPTS
    produces = "onnx"
    uses = ("per_channel", "convolutions", "operators", "reduce_range", "exclude")
    seeded = False
    stages = (stages.GRAPH,)

    def bytes_a_weight(self, parameters: dict[str, Any], facts: Facts) -> float:
        """Integers of 8 bits, but for what stays float."""
        kept = [*(() if parameters["convolutions"] else CONVOLUTIONS), *(("embedding",) if _narrow(parameters) else ())]
        return 1.0 + 3.0 * facts.share(*kept)

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Weights of 8 bits; convolutions whose activations are quantized on the fly."""
        found: dict[Effect, bool] = {
            "quantized": True,
            "fully quantized": not parameters["exclude"] and not _narrow(parameters),
            "dynamic conv": parameters["convolutions"],
        }
        return frozenset(effect for effect, here in found.items() if here)

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Layers in float."""
        return (FLOAT_LAYERS,)

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """Layers that stay float."""
        yield from super().problems(parameters, facts)
        floating = () if parameters["convolutions"] else CONVOLUTIONS
        yield from settings.problems(parameters, facts, floating=floating)

    def unsuited(self, parameters: dict[str, Any], layers: Sequence[Layer], facts: Facts) -> Iterator[Problem]:
        """Names that no node has."""
        yield from settings.unsuited(parameters, layers)

    def _apply(self, job: TransformJob) -> None:
        from deploykit.surgery.quantization import write

        quantizers = require("onnxruntime.quantization.onnx_quantizer", "")
        kinds = require("onnxruntime.quantization", "").QuantType
        registry = require("onnxruntime.quantization.registry", "")
        types = {*registry.CommonOpsRegistry, *registry.IntegerOpsRegistry, "Gemm"}  # made a MatMul first
        if not job["convolutions"]:
            types -= {"Conv", "ConvTranspose"}
        if job["operators"] == "matmul":
            types &= {"MatMul", "Gemm", "Attention", "Conv", "ConvTranspose"}

        def quantizer(model: Any, excluded: list[str], wanted: list[str]) -> Any:
            return quantizers.ONNXQuantizer(
                model,
                job["per_channel"],
                job["reduce_range"],
                mode=quantizers.QuantizationMode.IntegerOps,
                static=False,
                weight_qType=kinds.QInt8,
                activation_qType=kinds.QUInt8,
                tensors_range=None,
                nodes_to_quantize=[],
                nodes_to_exclude=excluded,
                op_types_to_quantize=wanted,
                extra_options={"MatMulConstBOnly": True},
            )

        job.notes[UNITS] = write.write(
            stages.graph(job.source), job.target, sorted(types), quantizer, exclude=job["exclude"],
            notes=job.notes, per_channel=bool(job["per_channel"]),
        )  # fmt: skip


class _PyTorch(_programs.Integers):
    label = "int8 dynamic (PyTorch)"
    help = (
        "PT2E by torchao: weights of linear layers per channel. With compile_graph, PyTorch's integer kernels for x86; "
        "without, layers compute in float32 on rounded numbers."
    )
    uses = ("reduce_range", "exclude")
    words = "linear layers, while the model runs,"
    types = frozenset({"linear"})
    floating = (*CONVOLUTIONS, "recurrent", "embedding")

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Weights of 8 bits."""
        return frozenset({"quantized"} if parameters["exclude"] else {"quantized", "fully quantized"})

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """Layers that stay float."""
        yield from super().problems(parameters, facts)
        yield from settings.problems(parameters, facts, floating=self.floating)

    def _apply(self, job: TransformJob) -> None:
        from deploykit.surgery.quantization import pt2e

        choice = pt2e.Choice(job["exclude"], narrow=job["reduce_range"])
        job.notes[UNITS] = pt2e.quantize(job.source, job.target, choice, None, job.notes, job.report)


def _narrow(parameters: dict[str, Any]) -> bool:
    return parameters.get("operators") == "matmul"


class QuantizeDynamic(Transform):
    """Quantizes weights ahead of time and activations on the fly; needs no data."""

    name = "quantize_dynamic"
    label = "int8 dynamic"
    help = (
        "A quarter of the size without calibration data. Faster where matrix products dominate (dense layers, "
        "recurrent networks, transformers); convolutions gain little. Programs of PyTorch are faster only with "
        "compile_graph after it."
    )
    family = QUANTIZE
    parameters = (
        settings.PER_CHANNEL,
        Parameter(
            "convolutions",
            "bool",
            False,
            "Also quantize convolutions: smaller, but ONNX Runtime's integer convolution is 2 to 10 times slower than "
            "its float one.",
        ),
        Parameter(
            "operators",
            "choice",
            "all",
            "matmul: matrix products and attention alone, and convolutions if requested. Embeddings stay float: more "
            "accurate for transformers, as fast, and larger by the embeddings.",
            choices=("all", "matmul"),
            late=True,
        ),
        settings.REDUCE_RANGE,
        settings.EXCLUDE,
    )
    variants = (_TFLite(), _OnnxRuntime(), _PyTorch())
    excluding = settings.EXCLUDE.name

    def following(self, values: dict[str, Any], facts: Facts) -> dict[str, Value]:
        """What depthwise convolutions ask for, where they are quantized."""
        asked = settings.following(facts)["per_channel"]
        return {"per_channel": bool(values["convolutions"] and asked)}


ADAPTER = QuantizeDynamic()

"""Static int8: weights and activations are quantized ahead of time, with ranges measured on calibration data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from deploykit.core.extras import require
from deploykit.core.model import Layer
from deploykit.core.parameter import Parameter, Value
from deploykit.core.problem import Effect, Facts, Problem
from deploykit.transforms._conditions import FLOAT_LAYERS, Condition, SameSignature
from deploykit.transforms._contract import QUANTIZE, UNITS, Need, Stage, Transform, TransformJob, Variant
from deploykit.transforms._quantizing import settings, stages


class _TFLite(Variant):
    name = "tflite"
    label = "int8 static (TFLite)"
    help = "Integer kernels for all operators that have one; per-channel weights."
    extra = "tensorflow"
    requires = ("tensorflow",)
    group = "tensorflow"
    accepts = frozenset({"saved_model"})
    produces = "tflite"
    uses = ("io",)
    needs = ("calibration",)
    seeded = False

    def bytes_a_weight(self, parameters: dict[str, Any], facts: Facts) -> float:
        """Integers of 8 bits."""
        return 1.0

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Integer activations."""
        return frozenset({"int8", "quantized", "fully quantized"})

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Layers in float."""
        return (FLOAT_LAYERS,)

    def ensures(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Other types of inputs and outputs only where they are asked for."""
        same = SameSignature(types=parameters["io"] == "float")
        return tuple(same if isinstance(c, SameSignature) else c for c in super().ensures(parameters))

    def _apply(self, job: TransformJob) -> None:
        from deploykit.surgery.quantization import calibration, tflite

        tf = require("tensorflow", self.extra)
        batches = calibration.Batches(job.examples, *tflite.signature_of(job.source), notes=job.notes)

        def setup(converter: Any) -> None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: calibration.counted(batches, job.report)
            # Operators without an integer kernel stay float instead of failing the conversion; a note names them.
            converter.target_spec.supported_ops = [
                tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
                tf.lite.OpsSet.TFLITE_BUILTINS,
            ]
            if job["io"] == "int8":
                converter.inference_input_type = tf.int8
                converter.inference_output_type = tf.int8

        tflite.quantize(job, setup)


class _OnnxRuntime(Variant):
    name = "onnxruntime"
    label = "int8 static (ONNX Runtime)"
    help = "Integer kernels for the operators that have one; ranges are measured once and shared by all settings."
    requires = stages.REQUIRES
    accepts = stages.ACCEPTS
    produces = "onnx"
    uses = ("form", "per_channel", "calibration", "operators", "activations", "reduce_range", "correction", "exclude")
    needs = ("calibration",)
    seeded = False
    stages = stages.STATIC

    def bytes_a_weight(self, parameters: dict[str, Any], facts: Facts) -> float:
        """Integers of 8 bits."""
        return 1.0

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Integer activations; how they are written decides which kernels there are."""
        found: dict[Effect, bool] = {
            "int8": True,
            "quantized": True,
            "fully quantized": not parameters["exclude"],
            "signed": parameters["activations"] == "int8",
            "qoperator": parameters["form"] == "qoperator",
            "narrow": parameters["reduce_range"],
        }
        return frozenset(effect for effect, here in found.items() if here)

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Layers in float."""
        return (FLOAT_LAYERS,)

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """Batches that do not fit, layers without an integer operator."""
        yield from super().problems(parameters, facts)
        yield from settings.problems(parameters, facts, floating=("recurrent",))

    def unsuited(self, parameters: dict[str, Any], layers: Sequence[Layer], facts: Facts) -> Iterator[Problem]:
        """Names that no node has."""
        yield from settings.unsuited(parameters, layers)

    def stages_for(self, parameters: dict[str, Any]) -> tuple[Stage, ...]:
        """A second pass over the examples only where outliers are clipped."""
        return stages.static(parameters["calibration"])

    def finishing_needs(self, parameters: dict[str, Any]) -> frozenset[Need]:
        """Nothing but for corrections: a stage has measured the ranges."""
        return frozenset() if parameters["correction"] == "none" else frozenset({"calibration"})

    def unable(self, parameters: dict[str, Any]) -> str:
        """Integer operators cannot be walked in float."""
        if parameters["correction"] == "none" or parameters["form"] == "qdq":
            return ""
        return 'corrections need pairs of conversions around layers: use form="qdq", or correction="none"'

    def _apply(self, job: TransformJob) -> None:
        from deploykit.surgery.quantization import graphs, write

        kinds = require("onnxruntime.quantization", "").QuantType
        heavy = job["operators"] == "conv_matmul"
        make = {"qdq": _qdq, "qoperator": _qoperator}[job["form"]]
        ranges = stages.ranges(job.source)
        options = {
            "per_channel": job["per_channel"],
            "reduce_range": job["reduce_range"],
            "weight_qType": kinds.QInt8,
            "activation_qType": {"uint8": kinds.QUInt8, "int8": kinds.QInt8}[job["activations"]],
            "tensors_range": ranges,
            "nodes_to_quantize": [],
            "extra_options": {},
        }
        job.notes[UNITS] = write.write(
            stages.graph(job.source),
            job.target,
            graphs.HEAVY if heavy else graphs.operator_types(),
            lambda model, names, types: make(model, **options, nodes_to_exclude=names, op_types_to_quantize=types),
            exclude=job["exclude"],
            notes=job.notes,
            per_channel=bool(job["per_channel"]),
            qoperator=job["form"] == "qoperator",
            ranges=ranges,
        )
        if job["correction"] != "none":
            _correct(job)


def _correct(job: TransformJob) -> None:
    """Correct the file that was written, beside the graph that was quantized."""
    from deploykit.surgery.correction import onnx_biases
    from deploykit.surgery.quantization import prepare
    from deploykit.transforms._examples.onnx import examples_of

    onnx, reference = require("onnx", ""), stages.graph(job.source)
    model = onnx.load(str(job.target))
    examples = examples_of(reference, replace(job, source=job.target, notes={}))
    found = onnx_biases.correct(reference, model, examples, weights=job["correction"] == "weights")
    job.notes |= {name: value for name, value in found.notes().items() if name != "unchanged"}
    onnx.save(model, str(job.target))
    prepare.check_opens(job.target)


def _qdq(model: Any, **options: Any) -> Any:
    return require("onnxruntime.quantization.qdq_quantizer", "").QDQQuantizer(model, **options)


def _qoperator(model: Any, **options: Any) -> Any:
    module = require("onnxruntime.quantization.onnx_quantizer", "")
    mode = module.QuantizationMode.QLinearOps
    return module.ONNXQuantizer(model, mode=mode, static=True, **options)


class QuantizeStatic(Transform):
    """Quantizes weights and activations with ranges from calibration data."""

    name = "quantize_static"
    label = "int8 static"
    help = (
        "Integer arithmetic throughout: a quarter of the size, and the fastest on CPUs for convolutional networks. "
        "Accuracy depends on the calibration data and on which operators are quantized."
    )
    family = QUANTIZE
    parameters = (
        Parameter(
            "io",
            "choice",
            "float",
            "Type of the model's inputs and outputs; int8 saves a conversion where the sensor delivers bytes.",
            label="inputs and outputs",
            choices=("float", "int8"),
        ),
        Parameter(
            "form",
            "choice",
            "qdq",
            "How an ONNX file represents quantization: as pairs of QuantizeLinear and DequantizeLinear around "
            "operators, which runtimes fuse into integer kernels, or as integer operators, for runtimes that do not "
            "fuse. Integer operators with int8 activations were slow on x86 (ONNX Runtime 1.31); the plan shows what "
            "was measured on this CPU.",
            choices=("qdq", "qoperator"),
        ),
        settings.PER_CHANNEL,
        settings.CALIBRATION,
        settings.OPERATORS,
        Parameter(
            "activations",
            "choice",
            "uint8",
            "Type of the activations: uint8 suits x86, int8 suits ARM and accelerators.",
            choices=("uint8", "int8"),
        ),
        settings.REDUCE_RANGE,
        Parameter(
            "correction",
            "choice",
            "none",
            "What takes up the error of quantization, beside the graph in float on the calibration data: bias adds the "
            "mean error of each channel to its bias; weights also solves the weights of each layer again by least "
            "squares for the quantized inputs. Takes longer to build, and no longer to run.",
            choices=("none", "bias", "weights"),
        ),
        settings.EXCLUDE,
    )
    variants = (_TFLite(), _OnnxRuntime())
    excluding = settings.EXCLUDE.name
    careful: ClassVar[dict[str, Value]] = {"operators": "conv_matmul"}


ADAPTER = QuantizeStatic()

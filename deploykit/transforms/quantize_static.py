"""Static int8: weights and activations are quantized ahead of time, with ranges measured on calibration data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from deploykit.core.extras import require
from deploykit.core.model import Layer
from deploykit.core.parameter import Parameter, Value
from deploykit.core.problem import Effect, Facts, Problem
from deploykit.transforms import _programs
from deploykit.transforms._conditions import FLOAT_LAYERS, Condition, SameSignature
from deploykit.transforms._contract import QUANTIZE, UNITS, Need, Stage, Transform, TransformJob, Variant
from deploykit.transforms._quantizing import rounding, settings, stages

#: Types of activations, and how ONNX Runtime calls them.
_KINDS = {"uint8": "QUInt8", "int8": "QInt8", "uint16": "QUInt16", "int16": "QInt16"}
#: Activations of 16 bits.
_WIDE = frozenset({"int16", "uint16"})


class _TFLite(Variant):
    name = "tflite"
    label = "int8 static (TFLite)"
    help = "Integer kernels for all operators that have one; per-channel weights."
    extra = "tensorflow"
    requires = ("tensorflow",)
    group = "tensorflow"
    accepts = frozenset({"saved_model"})
    produces = "tflite"
    uses = ("io", "activations")
    needs = ("calibration",)
    seeded = False

    def bytes_a_weight(self, parameters: dict[str, Any], facts: Facts) -> float:
        """Integers of 8 bits."""
        return 1.0

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Integer activations."""
        return frozenset({"int16" if parameters["activations"] in _WIDE else "int8", "quantized", "fully quantized"})

    def unable(self, parameters: dict[str, Any]) -> str:
        """TFLite has one type of 16 bits, and no conversion of bytes to it."""
        if parameters["activations"] == "uint16":
            return 'TFLite has no uint16 activations: use activations="int16"'
        if parameters["activations"] == "int16" and parameters["io"] == "int8":
            return 'io="int8" needs 8-bit activations: use io="float"'
        return ""

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """16-bit activations have reference kernels alone."""
        yield from super().problems(parameters, facts)
        if parameters["activations"] == "int16":
            yield Problem(
                "pointless",
                "LiteRT has only reference kernels for 16-bit activations, which took 25 to 65 times as long as int8",
            )

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
            sets, wide = tf.lite.OpsSet, job["activations"] == "int16"
            integers = (
                sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8 if wide else sets.TFLITE_BUILTINS_INT8
            )
            converter.target_spec.supported_ops = [integers, sets.TFLITE_BUILTINS]
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
    uses = (
        "form",
        "per_channel",
        "calibration",
        "operators",
        "activations",
        "reduce_range",
        "smooth",
        "rounding",
        "correction",
        "exclude",
    )
    needs = ("calibration",)
    seeded = False
    stages = (*stages.STATIC, stages.SMOOTHED)

    def bytes_a_weight(self, parameters: dict[str, Any], facts: Facts) -> float:
        """Integers of 8 bits."""
        return 1.0

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Integer activations; how they are written decides which kernels there are."""
        wide = parameters["activations"] in _WIDE
        found: dict[Effect, bool] = {
            "int8": not wide,
            "int16": wide,
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
        yield from settings.advice(parameters, facts)
        if parameters["activations"] in _WIDE:
            yield Problem(
                "pointless",
                "no runtime here multiplies 16-bit activations in integers: layers compute in float, with conversions "
                "around them",
            )

    def unsuited(self, parameters: dict[str, Any], layers: Sequence[Layer], facts: Facts) -> Iterator[Problem]:
        """Names that no node has."""
        yield from settings.unsuited(parameters, layers)

    def stages_for(self, parameters: dict[str, Any]) -> tuple[Stage, ...]:
        """A second pass over the examples only where outliers are clipped."""
        return stages.static(parameters["calibration"], smooth=parameters["smooth"])

    def finishing_needs(self, parameters: dict[str, Any]) -> frozenset[Need]:
        """Nothing but for corrections and rounding: a stage has measured the ranges."""
        reads = parameters["correction"] != "none" or parameters["rounding"] != "nearest"
        return frozenset({"calibration"} if reads else ())

    def unable(self, parameters: dict[str, Any]) -> str:
        """Integer operators have 8-bit activations, and cannot be walked in float."""
        if parameters["rounding"] != "nearest" and parameters["correction"] == "weights":
            return 'correction="weights" rounds the weights itself: use correction="bias", or rounding="nearest"'
        if parameters["form"] == "qdq":
            return ""
        if parameters["activations"] in _WIDE:
            return 'there are no integer operators with 16-bit activations: use form="qdq"'
        if parameters["rounding"] != "nearest":
            return 'rounding is learned between pairs of conversions: use form="qdq", or rounding="nearest"'
        if parameters["correction"] == "none":
            return ""
        return 'corrections need pairs of conversions around layers: use form="qdq", or correction="none"'

    def _apply(self, job: TransformJob) -> None:
        from deploykit.surgery.quantization import graphs, write

        kinds = require("onnxruntime.quantization", "").QuantType
        heavy = job["operators"] == "conv_matmul"
        make = {"qdq": _qdq, "qoperator": _qoperator}[job["form"]]
        ranges = stages.ranges(job.source)
        job.notes["settings"] = {name: job[name] for name in (settings.PER_CHANNEL.name, settings.OPERATORS.name)}
        options = {
            "per_channel": job["per_channel"],
            "reduce_range": job["reduce_range"],
            "weight_qType": kinds.QInt8,
            "activation_qType": kinds[_KINDS[job["activations"]]],
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
        if job["rounding"] == "learned":
            rounding.learn(job, stages.graph(job.source))
        if job["correction"] != "none":
            _correct(job)


class _PyTorch(_programs.Integers):
    label = "int8 static (PyTorch)"
    help = (
        "PT2E by torchao: weights per channel. With compile_graph, PyTorch's integer kernels for x86; without, layers "
        "compute in float32 on rounded numbers, which takes longer than float32 alone."
    )
    uses = ("calibration", "operators", "reduce_range", "exclude")
    needs = ("calibration",)
    words = "convolutions and linear layers"
    types = frozenset({"conv1d", "conv2d", "linear"})
    floating = ("recurrent", "embedding")

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Integer activations."""
        found: dict[Effect, bool] = {
            "int8": True, "quantized": True, "fully quantized": not parameters["exclude"],
            "narrow": parameters["reduce_range"],
        }  # fmt: skip
        return frozenset(effect for effect, here in found.items() if here)

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """Batches that do not fit, layers without an integer kernel."""
        yield from super().problems(parameters, facts)
        yield from settings.problems(parameters, facts, floating=self.floating)

    def _apply(self, job: TransformJob) -> None:
        from deploykit.surgery.quantization import pt2e

        job.notes["settings"] = {settings.OPERATORS.name: job[settings.OPERATORS.name]}
        choice = pt2e.Choice(
            job["exclude"], between=job["operators"] == "all", narrow=job["reduce_range"], method=job["calibration"]
        )
        job.notes[UNITS] = pt2e.quantize(job.source, job.target, choice, job.examples, job.notes, job.report)


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
        "Accuracy depends on the calibration data and on which operators are quantized. Programs of PyTorch are "
        "faster only with compile_graph after it."
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
            "Type of the activations: uint8 suits x86, int8 suits ARM and accelerators; TFLite files have int8. With "
            "16 bits, weights alone lose accuracy, for accelerators that have such kernels: on CPUs they are no faster "
            "than float32, and far slower in LiteRT.",
            choices=tuple(_KINDS),
        ),
        settings.REDUCE_RANGE,
        Parameter(
            "smooth",
            "float",
            0.0,
            "SmoothQuant's α: how much of the outliers in what matrix products read moves into their weights, half "
            "with 0.5; 0 leaves them where they are. For transformers, with operators=conv_matmul.",
            minimum=0.0,
            maximum=1.0,
            step=0.05,
        ),
        settings.ROUNDING,
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
    variants = (_TFLite(), _OnnxRuntime(), _PyTorch())
    excluding = settings.EXCLUDE.name
    careful: ClassVar[dict[str, Value]] = {"operators": "conv_matmul"}

    def following(self, values: dict[str, Any], facts: Facts) -> dict[str, Value]:
        """What the layers of the model ask for."""
        del values
        return settings.following(facts)


ADAPTER = QuantizeStatic()

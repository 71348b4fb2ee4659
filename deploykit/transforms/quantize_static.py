"""Static int8: weights and activations are quantized ahead of time, with ranges measured on calibration data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.core.parameter import Parameter
from deploykit.transforms import _calibration, _onnx_quantize, _tflite_quantize
from deploykit.transforms._contract import Transform, TransformJob, Variant

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Examples a batch where the model leaves it free: the outputs of all layers of one batch are held at once.
_BATCH = 8


class _TFLite(Variant):
    name = "tflite"
    label = "int8 static (TFLite)"
    help = "Integer kernels for all operators that have one; weights per channel."
    extra = "tensorflow"
    requires = _tflite_quantize.REQUIRES
    group = "tensorflow"
    accepts = _tflite_quantize.ACCEPTS
    produces = "tflite"
    uses = ("io",)
    needs = ("calibration",)

    def _apply(self, job: TransformJob) -> None:
        tf = require("tensorflow", self.extra)
        inputs, size = _tflite_quantize.signature_inputs(job.source)
        arrays = _calibration.examples(job, self.label, inputs)
        batches = _calibration.equal_batches(arrays, size)

        def setup(converter: Any) -> None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: _calibration.counted(job, batches)
            # Operators without an integer kernel stay float instead of failing the conversion; a note names them.
            converter.target_spec.supported_ops = [
                tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
                tf.lite.OpsSet.TFLITE_BUILTINS,
            ]
            if job["io"] == "int8":
                converter.inference_input_type = tf.int8
                converter.inference_output_type = tf.int8

        _tflite_quantize.quantize(job, setup)


class _OnnxRuntime(Variant):
    name = "onnxruntime"
    label = "int8 static (ONNX Runtime)"
    help = "QuantizeLinear/DequantizeLinear pairs around operators, which ONNX Runtime fuses into integer kernels."
    requires = _onnx_quantize.REQUIRES
    accepts = _onnx_quantize.ACCEPTS
    produces = "onnx"
    uses = ("per_channel", "calibration", "operators", "activations", "reduce_range")
    needs = ("calibration",)

    def _apply(self, job: TransformJob) -> None:
        quantization = require("onnxruntime.quantization", "")
        with _onnx_quantize.prepared(job) as path:
            _onnx_quantize.attempt(
                job,
                quantization.quantize_static,
                str(path),
                str(job.target),
                _reader(job, _onnx_batches(job, self.label)),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=list(_onnx_quantize.HEAVY) if job["operators"] == "conv_matmul" else None,
                per_channel=job["per_channel"],
                reduce_range=job["reduce_range"],
                activation_type=_quant_type(job["activations"]),
                weight_type=quantization.QuantType.QInt8,
                calibrate_method=_method(job["calibration"]),
                # One batch at a time: by default the outputs of all layers of all batches are kept.
                extra_options={"CalibStridedMinMax": 1},
            )


def _quant_type(name: str) -> Any:
    kinds = require("onnxruntime.quantization", "").QuantType
    return {"uint8": kinds.QUInt8, "int8": kinds.QInt8}[name]


def _method(name: str) -> Any:
    methods = require("onnxruntime.quantization", "").CalibrationMethod
    return {"minmax": methods.MinMax, "entropy": methods.Entropy, "percentile": methods.Percentile}[name]


def _onnx_batches(job: TransformJob, label: str) -> list[dict[str, NDArray[Any]]]:
    onnx = require("onnx", "")
    graph = onnx.load(str(job.source), load_external_data=False).graph
    constants = {i.name for i in graph.initializer}
    inputs = [i for i in graph.input if i.name not in constants]
    dtypes = {i.name: onnx.helper.tensor_dtype_to_np_dtype(i.type.tensor_type.elem_type) for i in inputs}
    fixed = {i.type.tensor_type.shape.dim[0].dim_value for i in inputs if i.type.tensor_type.shape.dim} - {0}
    arrays = _calibration.examples(job, label, dtypes)
    free = min(_BATCH, len(next(iter(arrays.values()))))
    return _calibration.equal_batches(arrays, max(fixed, default=free))


def _reader(job: TransformJob, batches: Sequence[dict[str, NDArray[Any]]]) -> Any:
    """The batches as ONNX Runtime reads them: some from ``start`` to ``end``, then None."""
    base = require("onnxruntime.quantization", "").CalibrationDataReader

    class Reader(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            self._batches = _calibration.counted(job, batches)
            self._left = len(batches)

        def __len__(self) -> int:
            return len(batches)

        def set_range(self, start_index: int, end_index: int) -> None:
            self._left = end_index - start_index

        def get_next(self) -> dict[str, Any] | None:
            if not self._left:
                return None
            self._left -= 1
            return next(self._batches, None)

    return Reader()


class QuantizeStatic(Transform):
    """Quantizes weights and activations with ranges from calibration data."""

    name = "quantize_static"
    label = "int8 static"
    help = (
        "Integer arithmetic throughout: a quarter of the size, and the fastest on CPUs for convolutional networks. "
        "Accuracy depends on the calibration data and on which operators are quantized."
    )
    family = "quantize"
    parameters = (
        Parameter(
            "io",
            "choice",
            "float",
            "Type of the model's inputs and outputs; int8 saves the conversion where the sensor delivers bytes.",
            label="inputs and outputs",
            choices=("float", "int8"),
        ),
        _onnx_quantize.PER_CHANNEL,
        Parameter(
            "calibration",
            "choice",
            "minmax",
            "How ranges are drawn from the calibration examples: entropy and percentile clip outliers.",
            choices=("minmax", "entropy", "percentile"),
        ),
        Parameter(
            "operators",
            "choice",
            "all",
            "Which operators are quantized: convolutions and matrix products alone often keep far more accuracy at "
            "nearly the same speed.",
            choices=("all", "conv_matmul"),
        ),
        Parameter(
            "activations",
            "choice",
            "uint8",
            "Type of the activations: uint8 suits x86, int8 suits ARM and accelerators.",
            choices=("uint8", "int8"),
        ),
        _onnx_quantize.REDUCE_RANGE,
    )
    variants = (_TFLite(), _OnnxRuntime())


ADAPTER = QuantizeStatic()

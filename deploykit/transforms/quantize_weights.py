"""Weight-only quantization: weights are stored in 4 or 8 bits, activations stay float."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from deploykit.core.layers.kinds import CONVOLUTIONS, LayerKind
from deploykit.core.model import Layer
from deploykit.core.parameter import Parameter, Value
from deploykit.core.problem import Effect, Facts, Problem
from deploykit.surgery import selection
from deploykit.transforms._conditions import FLOAT_LAYERS, Condition
from deploykit.transforms._contract import QUANTIZE, UNITS, Need, Transform, TransformJob, Variant
from deploykit.transforms._quantizing import settings, stages
from deploykit.transforms._quantizing.rounding import batches_of

#: Bits of a weight of a convolution, by the setting.
_BITS = {"float": 0, "int4": 4, "int8": 8}
#: Ways to round that read calibration examples.
_READING = frozenset({"gptq", "learned"})
#: Bytes of a scale, and of a zero point that is not whole.
_SCALE = 4.0


class _FewBits(Variant):
    seeded = False
    needs = ("calibration",)
    #: Kinds of layers that stay float.
    floating: ClassVar[tuple[LayerKind, ...]]

    def unable(self, parameters: dict[str, Any]) -> str:
        """Bits that no file holds."""
        return "" if parameters["bits"] in (4, 8) else f"bits must be 4 or 8, got {parameters['bits']}"

    def needs_for(self, parameters: dict[str, Any]) -> frozenset[Need]:
        """Calibration examples where rounding reads them."""
        return frozenset({"calibration"}) if parameters["method"] in _READING else frozenset()

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Weights of fewer bits."""
        found: set[Effect] = {"quantized"}
        return frozenset(found if parameters["exclude"] else {*found, "fully quantized"})

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Layers in float."""
        return (FLOAT_LAYERS,)

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """Layers that stay float."""
        yield from super().problems(parameters, facts)
        floating = (*self.floating, *(CONVOLUTIONS if parameters["convolutions"] == "float" else ()))
        yield from settings.problems(parameters, facts, floating=floating)

    def bytes_a_weight(self, parameters: dict[str, Any], facts: Facts) -> float:
        """Integers, their scales, and what stays float."""
        dense = int(parameters["bits"]) / 8 + self._overhead(parameters)
        convolutions = _BITS[parameters["convolutions"]] / 8 or 4.0
        shares = facts.share(*CONVOLUTIONS), facts.share(*self.floating)
        return dense * (1.0 - sum(shares)) + convolutions * shares[0] + 4.0 * shares[1]

    def _overhead(self, parameters: dict[str, Any]) -> float:
        """Bytes of scales and zero points for each weight of a dense layer."""
        del parameters
        return 0.0


class _Onnx(_FewBits):
    name = "onnxruntime"
    label = "few-bit weights (ONNX)"
    help = (
        "Matrix products read blocks of packed weights (MatMulNBits, an operator of ONNX Runtime that OpenVINO reads "
        "as well). Weights of convolutions are stored as int8 and unpacked when the file is loaded."
    )
    requires = (*stages.REQUIRES, "onnx_ir")
    accepts = stages.ACCEPTS
    produces = "onnx"
    uses = ("bits", "block", "symmetric", "method", "compute", "convolutions", "exclude")
    stages = (stages.GRAPH,)
    floating = ("recurrent", "embedding")

    def unable(self, parameters: dict[str, Any]) -> str:
        """Convolutions have no operator for 4 bits, and zero points of 8 bits must be whole."""
        if parameters["convolutions"] == "int4":
            return "weights of convolutions have 8 bits in ONNX files"
        if parameters["bits"] == 8 and parameters["method"] == "hqq":
            return "hqq rounds to 4 bits only: ONNX Runtime has no 8-bit product with zero points that are not whole"
        return super().unable(parameters)

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """What takes longer than float32."""
        yield from super().problems(parameters, facts)
        if facts.share("dense") == 0.0:
            return
        if parameters["method"] == "hqq":
            yield Problem(
                "note",
                "ONNX Runtime 1.31 unpacks weights with zero points that are not whole in each run: products took 10 "
                "to 15 times as long as in float32",
            )
        elif parameters["bits"] == 8 and parameters["compute"] == "float32":
            yield Problem(
                "note",
                "ONNX Runtime 1.31 unpacks 8-bit weights in each run: products took 8 to 25 times as long as in "
                "float32, and less than in float32 with compute=int8",
            )

    def unsuited(self, parameters: dict[str, Any], layers: Sequence[Layer], facts: Facts) -> Iterator[Problem]:
        """Names that no node has."""
        yield from settings.unsuited(parameters, layers)

    def _overhead(self, parameters: dict[str, Any]) -> float:
        whole = 0.0 if parameters["symmetric"] else parameters["bits"] / 8
        return (_SCALE + (_SCALE if parameters["method"] == "hqq" else whole)) / int(parameters["block"])

    def _apply(self, job: TransformJob) -> None:
        from deploykit.surgery.quantization import few_bits, rounding

        model = stages.graph(job.source)
        batches = batches_of(job, model) if job["method"] in _READING else ()
        how = rounding.FewBits(
            job["bits"], int(job["block"]), job["symmetric"], job["method"], bool(_BITS[job["convolutions"]]),
            job["compute"] == "int8",
        )  # fmt: skip
        job.notes[UNITS] = few_bits.pack(
            model, job.target, how, exclude=job["exclude"], notes=job.notes, report=job.report, batches=batches
        )


class _TFLite(_FewBits):
    name = "tflite"
    label = "few-bit weights (TFLite)"
    help = (
        "LiteRT Quantizer on a .tflite file: a scale for each output, no blocks. XNNPACK unpacks 8-bit weights when "
        "the model is loaded."
    )
    requires = ("ai_edge_litert", "litert_quantizer")
    accepts = frozenset({"tflite"})
    produces = "tflite"
    uses = ("bits", "symmetric", "method", "convolutions", "exclude")
    floating = ("recurrent",)

    def unable(self, parameters: dict[str, Any]) -> str:
        """The quantizer has other ways to round."""
        if parameters["method"] in ("hqq", "learned"):
            return "TFLite files are rounded by rtn or gptq"
        return super().unable(parameters)

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """What takes longer than float32."""
        yield from super().problems(parameters, facts)
        if parameters["convolutions"] == "int4" and facts.share("convolution") > 0.0:
            yield Problem(
                "pointless",
                "LiteRT 2.3 unpacks 4-bit weights of convolutions in each run: the small CNN took 5 times as long",
            )

    def unsuited(self, parameters: dict[str, Any], layers: Sequence[Layer], facts: Facts) -> Iterator[Problem]:
        """Names that no operator has."""
        yield from selection.unsuited(parameters["exclude"], layers, "operator", "type of operator")

    def _apply(self, job: TransformJob) -> None:
        from deploykit.surgery.quantization import litert

        gptq = job["method"] == "gptq"
        how = litert.FewBits(job["bits"], job["symmetric"], gptq, _BITS[job["convolutions"]])
        job.notes[UNITS] = litert.pack(
            job.source, job.target, how, exclude=job["exclude"], notes=job.notes, data=job.data, report=job.report
        )


class QuantizeWeights(Transform):
    """Stores weights in 4 or 8 bits; needs no data unless the rounding does."""

    name = "quantize_weights"
    label = "few-bit weights"
    help = (
        "Stores weights in 4 or 8 bits, and computes in float32 as before: an eighth to a quarter of the size at the "
        "least loss of accuracy, without calibration data. Large 4-bit matrix products took half the time in ONNX "
        "Runtime, one example at a time; convolutions are no faster: integer arithmetic is what quantize_static is for."
    )
    family = QUANTIZE
    parameters = (
        Parameter(
            "bits", "int", 4, "Bits of a weight of a dense layer or another matrix product: 4 or 8.", minimum=4,
            maximum=8, step=4, unit="bits", shown=True,
        ),
        Parameter(
            "block", "choice", "32",
            "Weights of one output that share a scale, in ONNX files: fewer are more accurate, for 4 bytes a block. "
            "TFLite files have one scale for each output.",
            choices=("16", "32", "64", "128", "256"), label="block size",
        ),
        Parameter(
            "symmetric", "bool", True,
            "Zero is in the middle of what the bits can hold; else each block has a zero point of its own, which is "
            "more accurate where weights are mostly of one sign.",
        ),
        Parameter(
            "method", "choice", "rtn",
            "How weights are rounded: to the nearest value (rtn); with zero points that are not whole, moved to where "
            "few weights are far off (hqq, for ONNX files; it is never symmetric); one input after the other, so that "
            "later weights make up for the errors of earlier ones on calibration data (gptq); or each down or up, "
            "whichever leaves what the layer gives nearest on calibration data (learned, for ONNX files; convolutions "
            "as well).",
            choices=("rtn", "hqq", "gptq", "learned"),
        ),
        Parameter(
            "compute", "choice", "float32",
            "What ONNX Runtime computes matrix products in. With int8 it rounds blocks of activations on the way: "
            "large products took a quarter to a third of the time of float32, one example at a time, at the accuracy "
            "of the weights. Other runtimes ignore it.",
            choices=("float32", "int8"), label="computes in", binding=True,
        ),
        Parameter(
            "convolutions", "choice", "int8",
            "How convolutions store their weights: 8 bits and a scale for each channel, or as before; 4 bits in TFLite "
            "files, which left nothing of EfficientNet-Lite0.",
            choices=("int8", "int4", "float"),
        ),
        selection.setting("layers", "operator types", "stay float", "Names are those in the file that is quantized."),
    )  # fmt: skip
    variants = (_Onnx(), _TFLite())
    excluding = "exclude"
    careful: ClassVar[dict[str, Value]] = {"bits": 8}


ADAPTER = QuantizeWeights()

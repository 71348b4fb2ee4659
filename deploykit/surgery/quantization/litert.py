"""Weights of few bits in TFLite files whose activations stay float, by LiteRT Quantizer.

Weights get one scale for each output. The package also has blocks with a scale each, but only for weights of 4 bits
whose activations are quantized on the fly: dequantized, they give wrong answers (litert-quantizer 0.11).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploykit.core.candidate import Target
from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.model import Layer
from deploykit.data.dataset import Dataset
from deploykit.loading.tflite import ADAPTER as TFLITE
from deploykit.runtimes.litert import ADAPTER as LITERT
from deploykit.sandbox.task import Report
from deploykit.surgery import selection
from deploykit.surgery.quantization import calibration, graphs

#: Operators whose weights can be packed → how the quantizer calls them.
_OPERATORS = {
    "BATCH_MATMUL": "BATCH_MATMUL", "CONV_2D": "CONV_2D", "DEPTHWISE_CONV_2D": "DEPTHWISE_CONV_2D",
    "EMBEDDING_LOOKUP": "EMBEDDING_LOOKUP", "FULLY_CONNECTED": "FULLY_CONNECTED",
    "TRANSPOSE_CONV": "CONV_2D_TRANSPOSE",
}  # fmt: skip
_CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"})
#: Convolutions that can have weights of 4 bits, and operators whose weights GPTQ can round.
_NARROW, _SOLVED = frozenset({"CONV_2D"}), frozenset({"FULLY_CONNECTED"})
#: The quantizer's names of the ways to round.
_NEAREST, _GPTQ = "min_max_uniform_quantize", "GPTQ"


@dataclass(frozen=True)
class FewBits:
    """How weights are packed.

    Attributes:
        bits: Bits of a weight of a matrix product: 4 or 8.
        symmetric: Whether zero is in the middle of what the bits can hold; else each output has a zero point.
        gptq: Whether the weights of dense layers are rounded so that later ones make up for the errors of earlier ones.
        convolutions: Bits of a convolution's weight: 4 or 8, or 0 where it stays float. Depthwise and transposed ones
            have 8 where others have 4.
    """

    bits: int
    symmetric: bool
    gptq: bool
    convolutions: int

    def bits_of(self, kind: str) -> int:
        """Bits of an operator's weights; 0 where they stay float."""
        if kind not in _OPERATORS:
            return 0
        if kind in _CONVOLUTIONS:
            return self.convolutions if kind in _NARROW else min(8, 2 * self.convolutions)
        return self.bits


def pack(
    source: Path, target: Path, how: FewBits, *, exclude: str, notes: dict[str, Any], data: Dataset | None,
    report: Report,
) -> list[list[Any]]:  # fmt: skip
    """Pack the weights of a file.

    Args:
        source: A TFLite file.
        target: File to write.
        how: How weights are packed.
        exclude: Says what stays float.
        notes: Gets what was packed.
        data: The data; their calibration examples are read by GPTQ.
        report: Called with the progress.

    Returns:
        Which operators were changed: ``[name, type, number of weights]`` for each, in order.

    Raises:
        SettingError: A name in ``exclude`` is neither that of an operator with weights nor of a type of them.
        UnsupportedModelError: There is nothing to pack.
        CandidateError: The quantizer fails on it.
    """
    parts = list(parts_of(source))
    left = selection.excluded(exclude, parts, "operator", "type of operator")
    chosen = [part for part in parts if part.name not in left and how.bits_of(part.type)]
    if not chosen:
        raise UnsupportedModelError(
            "There are no weights in float32 to store in fewer bits: "
            f"the file has {', '.join(sorted({part.type for part in parts})) or 'no operator with any'}.",
            remedy="leave fewer operators out with exclude, let convolutions be int8, or skip this technique.",
        )
    examples = examples_of(source, data, notes, report) if how.gptq and data is not None else None
    with graphs.failures("quantize", "LiteRT Quantizer"):
        made = require("litert_quantizer.quantizer").Quantizer(str(source), _recipe(chosen, how))
        ranges = made.calibrate(examples, num_threads=1) if examples is not None and made.need_calibration else None
        found = made.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
        target.write_bytes(found.quantized_model)
    report(1, 1, "quantized")
    notes["packed"] = dict(sorted(Counter(part.type for part in chosen).items()))
    return selection.units(chosen, set())


def parts_of(source: Path) -> Iterator[selection.Selectable]:
    """Operators whose weights are float32."""
    kinds = {layer.name: layer.type for layer in TFLITE.read(source, trusted=False, imports=()).layers}
    for weight in TFLITE.weights(source):
        kind = kinds.get(weight.layer, "")
        if kind in _OPERATORS and weight.stored == "float32":
            size = 1
            for dim in weight.shape:
                size *= dim
            yield selection.Selectable(weight.layer, kind, size, kind=TFLITE.kind_of(Layer(weight.layer, kind)))


def static_recipe(chosen: Mapping[str, str]) -> list[dict[str, Any]]:
    """What the quantizer is to do for operators with int8 weights and activations, each by its name and its type."""
    return [
        {
            "regex": f"^{re.escape(name)};",
            "operation": _OPERATORS.get(kind, kind),
            "algorithm_key": _NEAREST,
            "op_config": {
                "activation_tensor_config": {
                    "num_bits": 8, "symmetric": False, "granularity": "TENSORWISE", "dtype": "INT",
                },
                "weight_tensor_config": {
                    "num_bits": 8, "symmetric": True, "granularity": "CHANNELWISE", "dtype": "INT",
                },
                "compute_precision": "INTEGER",
                "explicit_dequantize": False,
                "skip_checks": False,
                "min_weight_elements": 0,
            },
        }
        for name, kind in chosen.items()
    ]  # fmt: skip


def _recipe(chosen: Sequence[selection.Selectable], how: FewBits) -> list[dict[str, Any]]:
    """What the quantizer is to do, in its own format."""
    return [
        {
            "regex": f"^{re.escape(part.name)};",
            "operation": _OPERATORS[part.type],
            "algorithm_key": _GPTQ if how.gptq and part.type in _SOLVED else _NEAREST,
            "op_config": {
                "weight_tensor_config": {
                    "num_bits": how.bits_of(part.type),
                    "symmetric": how.symmetric,
                    "granularity": "CHANNELWISE",
                    "dtype": "INT",
                },
                "compute_precision": "FLOAT",
                "explicit_dequantize": True,
                "skip_checks": False,
                "min_weight_elements": 0,
            },
        }
        for part in chosen
    ]


class _Counted:
    """Batches that can be gone through again, which report their progress."""

    def __init__(self, batches: calibration.Batches, report: Report) -> None:
        self._batches, self._report = batches, report

    def __iter__(self) -> Iterator[calibration.Batch]:
        return calibration.counted(self._batches, self._report)


def examples_of(source: Path, data: Dataset, notes: dict[str, Any], report: Report) -> dict[str, _Counted]:
    """Calibration examples as the quantizer takes them, by signature."""
    interpreter = require("ai_edge_litert.interpreter").Interpreter(str(source))
    signatures = list(interpreter.get_signature_list())
    if len(signatures) != 1:
        raise UnsupportedModelError(
            f"LiteRT Quantizer calibrates files with one signature; this one has {len(signatures)}.",
            remedy="use method=rtn, or convert the model with one signature.",
        )
    session = LITERT.open(source, Target(LITERT.name), TFLITE.name)
    batches = calibration.Batches(data, session.inputs, session.predict, notes=notes)
    return {signatures[0]: _Counted(batches, report)}

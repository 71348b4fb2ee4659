"""Simulated quantization: weights are rounded to what a few bits can hold, and stay float32."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.core.parameter import Parameter, Value
from deploykit.core.problem import Facts, Problem
from deploykit.surgery import selection
from deploykit.transforms._contract import QUANTIZE, Transform, TransformJob
from deploykit.transforms._weights.keras import ABSORBS
from deploykit.transforms._weights.onnx import OnnxWeights
from deploykit.transforms._weights.sharing import SharedKeras, SharedWeights

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Bytes that say what the whole numbers of a tensor stand for: minimum and step, or an exponent.
_SCALES = {"affine": 8, "power_of_two": 1}


class _Simulating(SharedWeights):
    help = "Rounds the kernels of convolutions and matrix products; biases and activations stay as they are."
    uses = ("bits", "scheme", "per_channel", "exclude")

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """What is computed and what is measured."""
        yield from super().problems(parameters, facts)
        yield Problem("note", "the file stores float32: its accuracy is measured, the size in bits is computed")

    def _most(self, parameters: dict[str, Any]) -> int | None:
        return None if parameters["per_channel"] else 2 ** int(parameters["bits"])

    def _shared(self, job: TransformJob, rows: NDArray[Any]) -> NDArray[Any]:
        import numpy as np

        from deploykit.surgery.weights.grids import GRIDS

        together = rows if job["per_channel"] else rows.reshape(1, -1)
        found = GRIDS[job["scheme"]](together.astype(np.float64), job["bits"])
        return found.reshape(rows.shape).astype(rows.dtype)

    def _packed(self, job: TransformJob, rows: NDArray[Any]) -> float:
        scales = len(rows) if job["per_channel"] else 1
        return rows.size * int(job["bits"]) / 8 + scales * _SCALES[job["scheme"]]


class _Onnx(_Simulating, OnnxWeights):
    name = "onnx"
    label = "simulated quantization (ONNX)"


class _Keras(_Simulating, SharedKeras):
    name = "keras"
    label = "simulated quantization (Keras)"
    help = f"{_Simulating.help} {ABSORBS}"


class QuantizeSimulated(Transform):
    """The weights of each layer are rounded to what a few bits can hold."""

    name = "quantize_simulated"
    label = "simulated quantization"
    help = (
        "Rounds the weights to what 2 to 16 bits can hold, to see what a number of bits costs in accuracy. The file "
        "stores them in float32 as before: its size in bits is computed, only gzip makes it smaller, and it is no "
        "faster on any runtime."
    )
    family = QUANTIZE
    parameters = (
        Parameter("bits", "int", 8, "Bits of a weight.", minimum=2, maximum=16, step=1, unit="bits", shown=True),
        Parameter(
            "scheme", "choice", "affine",
            "affine: evenly spaced values from the smallest to the largest weight; power_of_two: whole numbers divided "
            "by a power of two, for hardware that shifts instead of multiplying.",
            choices=("affine", "power_of_two"),
        ),
        Parameter(
            "per_channel", "bool", False, "A range for each output instead of one for each layer: more accurate at few "
            "bits, for a few bytes per output.",
        ),
        selection.setting("layers", "layer or operator types", "stay as they are"),
    )  # fmt: skip
    variants = (_Onnx(), _Keras())
    excluding = "exclude"
    careful: ClassVar[dict[str, Value]] = {"per_channel": True}


ADAPTER = QuantizeSimulated()

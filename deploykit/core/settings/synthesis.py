"""The settings of synthesized inputs, for arguments and flags."""

from __future__ import annotations

import math
from typing import Any

from deploykit.core.errors import SettingError
from deploykit.core.parameter import Parameter

#: Ways to make inputs.
METHODS = ("auto", "batchnorm", "generator")
PARAMETERS = (
    Parameter(
        "method", "choice", "auto",
        "batchnorm: optimized until batch statistics match those stored in the model; generator: trained against the "
        "model; auto: batchnorm if the model has such statistics.",
        choices=METHODS,
    ),
    Parameter(
        "examples", "int", 512, "Number of inputs to make. More of them do not replace real ones.",
        minimum=1, maximum=1_000_000, unit="examples",
    ),
    Parameter(
        "steps", "int", 200, "Optimization steps: of each batch (batchnorm), or of the generator.", minimum=1,
        maximum=1_000_000,
    ),
)  # fmt: skip
#: What ``between=`` is, for flags and fields.
BETWEEN = "Smallest and largest value that the model takes; not given: those of 8-bit images after preprocessing."


def limits(between: Any) -> tuple[float, float]:
    """A range of values, checked.

    Raises:
        SettingError: It is not two finite numbers, the smaller one first.
    """
    try:
        low, high = (float(value) for value in between)
    except (TypeError, ValueError):
        raise SettingError(f"The range between= must be two numbers, got {between!r}.") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise SettingError(f"The range between= must be two finite numbers, the smaller one first, got {between!r}.")
    return low, high

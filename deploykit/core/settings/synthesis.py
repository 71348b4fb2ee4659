"""The settings of synthesized inputs, for arguments and flags."""

from __future__ import annotations

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

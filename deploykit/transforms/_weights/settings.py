"""Settings that several techniques have."""

from __future__ import annotations

from deploykit.core.parameter import Parameter

RECONSTRUCT = Parameter(
    "reconstruct",
    "bool",
    True,
    "Solve the remaining weights again, so that each layer answers as the original's on calibration data.",
)
SMALL_LAYERS = Parameter(
    "small_layers",
    "bool",
    False,
    "Also prune the smallest layers (1 % of the weights): saves almost nothing and costs the most accuracy.",
)

"""What change of accuracy so many examples can tell."""

from __future__ import annotations

import math

#: Share of examples whose answer a mild change flips, for the estimate of what data can resolve.
TYPICAL_FLIPS = 0.02


def half_width(flips: float, examples: int) -> float:
    """Half-width of the paired 95 % interval of an accuracy change when so large a share of answers flips."""
    return 1.96 * math.sqrt(flips / max(1, examples))

"""What the outputs of a model lose when parts of it are skipped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from deploykit.surgery.layers.spans import Span

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Examples a span is measured on: damages differ by factors, not by percents.
MOST = 64
#: The damage of answers that are not numbers.
_RUINED = 1e9


def sorted_by(damages: Iterable[tuple[Span, float]]) -> list[tuple[Span, float]]:
    """Spans with their damage, the smallest first; of equal ones the larger first."""
    return sorted(damages, key=lambda pair: (pair[1], -pair[0].weights, pair[0].name))


def loss(wanted: Mapping[str, NDArray[Any]], found: Mapping[str, NDArray[Any]]) -> float:
    """How far answers are from others: mean square of the difference as a share of the variance, mean over outputs.

    Of outputs that are not floats it is the share of numbers that differ.
    """
    import numpy as np

    shares = []
    for name, one in wanted.items():
        two = found[name]
        if one.dtype.kind != "f":
            shares.append(float(np.mean(one != two)))
            continue
        one, two = one.astype(np.float64), two.astype(np.float64)
        variance = float(np.square(one - one.mean(0)).mean())
        share = float(np.square(two - one).mean()) / (variance + 1e-12)
        shares.append(share if np.isfinite(share) else _RUINED)
    return sum(shares) / len(shares)

"""A speed-up in its two parts: what the move to another runtime gives, and what the technique gives there."""

from __future__ import annotations

from typing import Literal

from deploykit.core.candidate import Target
from deploykit.core.result import Interval, Latency, Result
from deploykit.measuring.ratios import MARGIN
from deploykit.reporting import numbers
from deploykit.reporting.places import place

Claim = Literal["baseline", "faster", "slower", "same", "unclear"]


def own(latency: Latency) -> Interval:
    """The technique's part: against the same original model on the same target where it was timed, else the total."""
    return latency.speedup_same_runtime or latency.speedup


def claim(latency: Latency) -> Claim:
    """What may be said of `own`."""
    same = latency.speedup_same_runtime
    if same is None or latency.claim == "baseline":
        return latency.claim
    if latency.technique_claim:
        return latency.technique_claim
    margin = 1 + max(MARGIN, latency.noise_floor)
    if same.low > margin:
        return "faster"
    if same.high < 1 / margin:
        return "slower"
    return "same" if same.low > 1 / margin and same.high < margin else "unclear"


def moves(row: Result, home: Target | None) -> str:
    """The change of target, ``"TensorFlow → LiteRT"``; "" when there is none.

    Args:
        row: The candidate.
        home: Where the original model was timed.
    """
    target = row.candidate.target
    return f"{place(home)} → {place(target)}" if home is not None and home != target else ""


def parts(row: Result, home: Target | None) -> str:
    """``"16.8× in total: 4.80× from TensorFlow → LiteRT, 3.50× from int8 dynamic"``; "" when it was not timed.

    Without a change of target there is one part, which has its interval: ``"2.79× [2.75, 2.83]"``.
    """
    latency = row.measurement.latency if row.measurement else None
    if latency is None or latency.claim == "baseline":
        return ""
    total, same, way = latency.speedup, latency.speedup_same_runtime, moves(row, home)
    if not way:
        return numbers.times(total)
    if not row.candidate.recipe.steps:
        return f"{numbers.times(total)} from {way}"
    if same is None:
        return (
            f"{numbers.times(total)} in total, from {way} and {row.label} together: the original model was not timed "
            f"on {place(row.candidate.target)}"
        )
    moved = numbers.ratio(total.value / max(same.value, 1e-12))
    return f"{numbers.ratio(total.value)} in total: {moved} from {way}, {numbers.ratio(same.value)} from {row.label}"


def than(row: Result, home: Target | None) -> str:
    """What the technique's part is compared with, after "faster": ``" than the original model on LiteRT"``."""
    if not moves(row, home) or not row.candidate.recipe.steps:
        return ""
    latency = row.measurement.latency if row.measurement else None
    if latency is None or latency.speedup_same_runtime is None:
        return ""
    return f" than the original model on {place(row.candidate.target)}"

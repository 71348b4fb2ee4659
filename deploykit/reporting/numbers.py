"""Numbers as people read them: digits follow the uncertainty, minus is a minus, units stand once."""

from __future__ import annotations

import math

from deploykit.choosing.goals import limit as limit
from deploykit.core.result import Interval

DASH = "—"


def _clean(text: str) -> str:
    return text.replace("-", "−")


def plus_minus(interval: Interval, digits: int, factor: float = 1.0) -> str:
    """``0.094 ± 0.001``; a half-width that rounds to zero shows the last place."""
    half = interval.half_width * factor
    if not math.isfinite(half):
        return _clean(f"{interval.value * factor:.{digits}f}")
    return _clean(f"{interval.value * factor:.{digits}f} ± {max(half, 10.0**-digits):.{digits}f}")


def points(interval: Interval) -> str:
    """A change of a share in percentage points: ``−0.31 ± 0.24``; lopsided intervals keep their ends."""
    value = round(100 * interval.value, 2) + 0.0  # the sum makes minus zero plus zero
    up, down = 100 * interval.high - value, value - 100 * interval.low
    if abs(up - down) > 0.05:
        return _clean(f"{value:.2f} [{100 * interval.low:.2f}, {100 * interval.high:.2f}]")
    return _clean(f"{value:.2f} ± {max(up, down, 0.01):.2f}")


def times(interval: Interval | None) -> str:
    """A ratio: ``×2.79 [2.75, 2.83]``."""
    if interval is None:
        return DASH
    if not math.isfinite(interval.high) or interval.high > 1e6:
        return f"×{interval.value:.2f}"
    return f"×{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def flag(name: str) -> str:
    """A flag of a latency in words."""
    return {"screened": "timed briefly"}.get(name, name)


def kilobytes(size_bytes: float | None) -> str:
    """SI kilobytes: 1 kB = 1000 bytes."""
    if size_bytes is None:
        return DASH
    return f"{size_bytes / 1000:,.0f}" if size_bytes >= 10_000 else f"{size_bytes / 1000:.1f}"


def digits_for(half_widths: list[float]) -> int:
    """Decimals at which the median half-width has one significant digit."""
    finite = sorted(h for h in half_widths if h > 0 and math.isfinite(h))
    if not finite:
        return 3
    return max(0, min(6, -math.floor(math.log10(finite[len(finite) // 2]))))

"""Numbers as people read them: the only place that writes one with its interval, in every panel, table and sentence.

Digits follow the number's own interval, so that a number looks the same wherever it stands. The browser has the same
rules in ``format.ts``; ``widgets/tests/numbers.json`` holds what both must write.
"""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Context, Decimal

from deploykit.choosing.goals import limit as limit
from deploykit.core.result import Interval

DASH = "—"
#: Most decimals.
_MOST = 6
#: An end of an interval beyond which it is not shown: it is not known.
_FAR = 1e6
_EXACT = Context(prec=400)


def fixed(value: float, digits: int) -> str:
    """A number with so many decimals; ties are rounded away from zero, minus is a minus, and there is no minus zero."""
    rounded = Decimal(value).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, _EXACT)
    return f"{rounded + 0 if rounded else abs(rounded):f}".replace("-", "−")


def digits_of(half_width: float) -> int:
    """Decimals at which a half-width has one significant digit; 3 when it says nothing."""
    if not (math.isfinite(half_width) and half_width > 0):
        return 3
    return min(_MOST, max(0, -_exponent(half_width)))


def significant(value: float, digits: int = 4) -> str:
    """A number without an interval, to so many significant digits."""
    if not math.isfinite(value) or value == 0:
        return fixed(0.0, 0) if value == 0 else DASH
    return fixed(value, min(8, max(0, digits - 1 - _exponent(value))))


def _exponent(value: float) -> int:
    return int(f"{abs(value):e}".partition("e")[2])


def milliseconds(interval: Interval) -> str:
    """``0.0387 ± 0.0001``: the value to the digit of its half-width; the value alone where that is not known."""
    half, digits = interval.half_width, digits_of(interval.half_width)
    if not math.isfinite(half) or half > _FAR:
        return significant(interval.value, 3)
    return f"{fixed(interval.value, digits)} ± {fixed(max(half, 10.0**-digits), digits)}"


def beside(value: float, interval: Interval) -> str:
    """A number without an interval of its own, such as p90, to the digits of one beside it."""
    return fixed(value, digits_of(interval.half_width))


def points(interval: Interval) -> str:
    """A change of a share in percentage points: ``−0.31 ± 0.24``; lopsided intervals keep their ends."""
    value, low, high = (100 * end for end in (interval.value, interval.low, interval.high))
    up, down = high - value, value - low
    if abs(up - down) > 0.05:
        return f"{fixed(value, 2)} [{fixed(low, 2)}, {fixed(high, 2)}]"
    return f"{fixed(value, 2)} ± {fixed(max(up, down, 0.01), 2)}"


def times(interval: Interval | None) -> str:
    """A ratio: ``2.79× [2.75, 2.83]``."""
    if interval is None:
        return DASH
    digits = _ratio_digits(interval.value)
    if not math.isfinite(interval.high) or interval.high > _FAR:
        return ratio(interval.value)
    return f"{fixed(interval.value, digits)}× [{fixed(interval.low, digits)}, {fixed(interval.high, digits)}]"


def ratio(value: float) -> str:
    """A ratio without its interval, as `times` writes it: ``16.8×``, ``4.80×``."""
    return f"{fixed(value, _ratio_digits(value))}×" if math.isfinite(value) and value > 0 else DASH


def _ratio_digits(value: float) -> int:
    return 2 if value < 10 else 1 if value < 100 else 0


def amount(interval: Interval | None) -> str:
    """A quantity over launches, whose interval is lopsided: ``28.8 [27.9, 29.6]``; alone where that is not known."""
    if interval is None:
        return DASH
    value, low, high = interval.value, interval.low, interval.high
    if low <= value / 100 or high >= 100 * value:
        return significant(value, 3)
    digits = digits_of(interval.half_width / 5)
    return f"{fixed(value, digits)} [{fixed(low, digits)}, {fixed(high, digits)}]"


def score(value: float, *, relative: bool) -> str:
    """A metric: percent of a share, or an error to four significant digits."""
    return significant(value) if relative else fixed(100 * value, 2)


def flag(name: str) -> str:
    """A flag of a latency in words."""
    return {"screened": "timed briefly"}.get(name, name)


def kilobytes(size_bytes: float | None) -> str:
    """SI kilobytes: 1 kB = 1000 bytes."""
    if size_bytes is None:
        return DASH
    kilo = size_bytes / 1000
    return f"{int(fixed(kilo, 0)):,}" if kilo >= 10 else fixed(kilo, 1)


def megabytes(size_bytes: float | None) -> str:
    """SI megabytes."""
    return DASH if size_bytes is None else fixed(size_bytes / 1e6, 1)

"""What candidates take of their host besides latency, as a table in text and in HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence

from deploykit.core.result import Interval, Result
from deploykit.reporting import numbers
from deploykit.reporting.places import place
from deploykit.reporting.views import table

NOT_HERE = "not measurable here"
_HEADERS = (
    "Candidate", "Runtime", "Load, ms", "Load from disk, ms", "First inference, ms", "Examples/s", "Memory, MB",
    "Energy, mJ each",
)  # fmt: skip
_TOKENS = "Tokens/s"
_COST = "Cost per million"


def headers(rows: Sequence[Result], *, priced: bool) -> list[str]:
    """Column titles for rows that have a footprint."""
    return [*_HEADERS, *([_TOKENS] if _writes(rows) else []), *([_COST] if priced else [])]


def _writes(rows: Sequence[Result]) -> bool:
    """Whether one of the rows is a decoder that writes, or should."""
    found = [row.measurement.footprint for row in rows if row.measurement and row.measurement.footprint]
    return any(one.tokens_per_second is not None or "tokens_per_second" in one.missing for one in found)


def measured(rows: Sequence[Result]) -> list[Result]:
    """Rows with a footprint, in the order of the other table."""
    good, _ = table.ordered(rows)
    return [row for row in good if row.measurement is not None and row.measurement.footprint is not None]


def cells(rows: Sequence[Result], price_per_hour: float | None = None) -> list[list[str]]:
    """The cells of rows that have a footprint."""
    writes = _writes(rows)
    return [_cells(row, price_per_hour, writes=writes) for row in rows]


def _cells(row: Result, price: float | None, *, writes: bool) -> list[str]:
    assert row.measurement is not None
    found = row.measurement.footprint
    assert found is not None
    missing = dict.fromkeys(found.missing, NOT_HERE)
    return [
        row.label,
        place(row.candidate.target),
        numbers.amount(found.load_ms),
        missing.get("cold_load_ms") or numbers.amount(found.cold_load_ms),
        numbers.amount(found.first_ms),
        numbers.amount(found.throughput),
        numbers.amount(_scaled(found.memory_bytes, 1e-6)),
        missing.get("energy_mj") or numbers.amount(found.energy_mj),
        *([missing.get("tokens_per_second") or numbers.amount(found.tokens_per_second)] if writes else []),
        *([numbers.amount(found.cost_per_million(price))] if price else []),
    ]


def _scaled(interval: Interval | None, factor: float) -> Interval | None:
    return interval and Interval(interval.value * factor, interval.low * factor, interval.high * factor)


def reasons(rows: Sequence[Result]) -> list[str]:
    """Why columns are not measurable here, and what counted energy: one sentence each."""
    names = {"cold_load_ms": "Loading from disk", "energy_mj": "Energy", "tokens_per_second": "The pace of writing"}
    found = [row.measurement.footprint for row in rows if row.measurement and row.measurement.footprint]
    missing = dict.fromkeys((names.get(k, k), why) for one in found for k, why in one.missing.items())
    sources = dict.fromkeys(one.energy_from for one in found if one.energy_from)
    return [
        *(f"{name} is {NOT_HERE}: {why}." for name, why in missing),
        *(f"Energy is that of {source} as a whole, per prediction, with its idle power." for source in sources),
    ]


def priced(price_per_hour: float) -> str:
    """What the costs assume."""
    return (
        f"Cost: a million predictions on a machine at {price_per_hour:g} per hour, made one batch after another. "
        "Several instances side by side cost less."
    )


def text_table(rows: Sequence[Result], price_per_hour: float | None = None) -> str:
    """The table in monospaced text; "" when nothing was measured."""
    shown = measured(rows)
    if not shown:
        return ""
    lines = table.aligned([headers(shown, priced=bool(price_per_hour)), *cells(shown, price_per_hour)], words=range(2))
    return "\n".join([*lines, *reasons(shown), *([priced(price_per_hour)] if price_per_hour else [])])


def html_table(rows: Sequence[Result], price_per_hour: float | None = None) -> str:
    """The table in HTML with its reasons; "" when nothing was measured."""
    shown = measured(rows)
    if not shown:
        return ""
    body = [
        "<tr>"
        + "".join(f"<td{table.classed(table.numeric(i))}>{html.escape(c)}</td>" for i, c in enumerate(line))
        + "</tr>"
        for line in cells(shown, price_per_hour)
    ]
    drawn = table.framed(headers(shown, priced=bool(price_per_hour)), body, "Footprint of candidates", table.numeric)
    said = [*reasons(shown), *([priced(price_per_hour)] if price_per_hour else [])]
    return drawn + "".join(f'<p class="dk-soft">{html.escape(line)}</p>' for line in said)

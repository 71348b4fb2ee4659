"""How tuning is shown: flat records, the plain rows of its chart, the chart, and the table."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.result import Interval
from deploykit.reporting import numbers
from deploykit.reporting.numbers import DASH
from deploykit.reporting.places import runtime_label
from deploykit.reporting.views import sweet_spot, table
from deploykit.reporting.views.html import THEMED
from deploykit.reporting.views.tradeoff import DARK, LIGHT

if TYPE_CHECKING:
    from deploykit.serving.tuning.rows import TuningRow

#: What rows are in the chart.
BEST, DEFAULT, OTHER = "best settings", "without tuning", "other settings"
#: Where the numbers of a line's connections are: those of the other line are opposite.
_BESIDE: dict[str, dict[str, Any]] = {
    BEST: {"align": "left", "baseline": "top", "dx": 7, "dy": 5},
    DEFAULT: {"align": "right", "baseline": "bottom", "dx": -7, "dy": -5},
}
#: Intervals over fewer rounds are too wide to be drawn.
_FEWEST_ROUNDS = 3
_HEADERS = ("Runtime", "Settings", "Connections", "Requests/s", "p50, ms", "p99, ms", "Examples/batch", "CPU, µs",
            "Memory, MB", "")  # fmt: skip
#: Half-width of an interval, as a share of its value, from which on its ends are shown.
_WIDE = 0.2
#: Columns of words: runtime and settings, and what the row is.
_WORDS = (0, 1, 9)


def record(row: TuningRow, p99_ms: float, *, best: bool, line: Sequence[str] = ()) -> dict[str, Any]:
    """A flat record of a row; units are in the names, unknown values are None.

    Args:
        row: The row.
        p99_ms: The limit.
        best: Whether it is the choice.
        line: The lines of the chart that it is on.
    """
    found: dict[str, Any] = {
        "runtime": row.runtime,
        **row.settings.to_json(),
        "settings": str(row.settings),
        "concurrency": row.concurrency,
    }
    for name, interval in (("rate", row.rate), ("p50_ms", row.p50_ms), ("p99_ms", row.p99_ms)):
        found[name] = interval.value if interval else None
        found[f"{name}_low"] = interval.low if interval else None
        found[f"{name}_high"] = interval.high if interval else None
    return {
        **found,
        "holds": row.holds(p99_ms),
        "best": best,
        "line": list(line),
        "rounds": row.rounds,
        "requests": row.requests,
        **{f"{stage}_ms": row.stages_ms.get(stage) for stage in ("decode", "queue", "run", "encode")},
        "batch": row.batch or None,
        "cpu_us": row.cpu_us or None,
        "sender_cpu": row.sender_cpu or None,
        "memory_bytes": row.memory_bytes or None,
        "problem": f"{row.failure.cause} {row.failure.remedy}".strip() if row.failure else "",
    }


def points(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Plain rows of the chart: one for each measured record and each line it is on."""
    found = []
    for one in records:
        if one["rate"] is None:
            continue
        kept = {k: one[k] for k in ("settings", "concurrency", "rate", "p99_ms", "p50_ms", "best", "holds")}
        thorough = one["rounds"] >= _FEWEST_ROUNDS
        ends = {
            f"{name}_{end}": one[f"{name}_{end}"] if thorough else one[name]
            for name in ("rate", "p99_ms")
            for end in ("low", "high")
        }
        point = {**kept, **ends, "runtime": runtime_label(one["runtime"])}
        found += [{**point, "line": line} for line in one["line"] or (OTHER,)]
    return sorted(found, key=lambda point: (point["line"] != OTHER, point["line"], point["concurrency"]))


def chart(data: list[dict[str, Any]], p99_ms: float, *, summary: str, dark: bool) -> Any:
    """The chart as an Altair object; see `points` for its data."""
    import altair as alt

    palette = DARK if dark else LIGHT
    ink = "#ffffff" if dark else "#000000"
    names = [name for name in (BEST, DEFAULT, OTHER) if any(p["line"] == name for p in data)]
    colors = dict(zip((BEST, DEFAULT, OTHER), (palette[0], palette[1], "#888888"), strict=True))
    color = alt.Color(
        "line:N", title="numbers: connections", scale=alt.Scale(domain=names, range=[colors[n] for n in names]),
        legend=alt.Legend(labelLimit=0),
    )  # fmt: skip
    low = min([p99_ms, *(p["p99_ms_low"] for p in data)]) / 1.3
    high = max([p99_ms, *(p["p99_ms_high"] for p in data)]) * 1.3
    ticks = [m * 10.0**e for e in range(-3, 6) for m in (1, 2, 5) if low <= m * 10.0**e <= high]
    x = alt.X(
        "rate:Q",
        title="Requests per second → more",
        scale=alt.Scale(zero=True),
        axis=alt.Axis(format="~s", tickCount=8),
    )
    y = alt.Y(
        "p99_ms:Q", title="p99, ms (log scale) ↓ faster",
        scale=alt.Scale(type="log", domain=[low, high], nice=False), axis=alt.Axis(values=ticks, format="~g"),
    )  # fmt: skip
    base = alt.Chart(_values(alt, data))
    lines = base.transform_filter(f"datum.line != '{OTHER}'")
    faint = alt.condition(f"datum.line == '{OTHER}'", alt.value(0.45), alt.value(1.0))
    limit = alt.Chart(_values(alt, [{"p99_ms": p99_ms}]))
    layers = [
        limit.mark_rule(stroke="#c62828", aria=False).encode(y=y),
        limit.mark_text(text="your limit", align="left", baseline="bottom", dx=6, dy=-4, fontSize=11, aria=False)
        .encode(x=alt.value(0), y=y),
        lines.mark_line(strokeWidth=1.5, aria=False).encode(x=x, y=y, color=color, order="concurrency:Q"),
        lines.mark_rule(strokeWidth=1.2, aria=False)
        .encode(x=x, y=alt.Y("p99_ms_low:Q"), y2="p99_ms_high:Q", color=color),
        lines.mark_rule(strokeWidth=1.2, aria=False)
        .encode(x=alt.X("rate_low:Q"), x2="rate_high:Q", y=y, color=color),
        base.mark_point(size=50, filled=True, aria=False).encode(
            x=x, y=y, color=color, opacity=faint,
            tooltip=[
                alt.Tooltip("runtime:N"), alt.Tooltip("settings:N"), alt.Tooltip("concurrency:Q", title="connections"),
                alt.Tooltip("rate:Q", title="requests/s", format=",.0f"), alt.Tooltip("p99_ms:Q", format=".3~g"),
                alt.Tooltip("p50_ms:Q", format=".3~g"),
            ],
        ),
        *(
            base.transform_filter(f"datum.line == '{line}'")
            .mark_text(**place, fontSize=11, aria=False)
            .encode(x=x, y=y, text="concurrency:Q", color=color)
            for line, place in _BESIDE.items()
        ),
    ]  # fmt: skip
    chosen = [{**p, "chosen": True} for p in data if p["best"] and p["holds"] and p["line"] == BEST]
    layers += sweet_spot.layers(alt, chosen, f"best within {p99_ms:g} ms", x, y, ink)
    said = f"Requests per second against p99; numbers are connections. {summary}"
    return alt.layer(*layers).properties(width=620, height=320, description=said)


def _values(alt: Any, rows: list[dict[str, Any]]) -> Any:
    return alt.Data(values=rows)


def whole(interval: Interval) -> str:
    """A rate with its interval, in whole requests: ``12,340 ± 150``; wide ones, which are lopsided, keep their ends."""
    if interval.half_width > _WIDE * interval.value:
        return f"{interval.value:,.0f} [{interval.low:,.0f}, {interval.high:,.0f}]"
    return f"{interval.value:,.0f} ± {interval.half_width:,.0f}"


def cells(records: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The cells of the table, highest rate first and failed rows last."""
    ranked = sorted(records, key=lambda one: -(one["rate"] or 0.0))
    return [_cells(one) for one in ranked]


def _cells(one: Mapping[str, Any]) -> list[str]:
    found = [runtime_label(one["runtime"]), one["settings"], str(one["concurrency"])]
    if one["rate"] is None:
        return [*found, *[DASH] * 6, f"failed: {one['problem']}"]
    thorough = one["rounds"] >= _FEWEST_ROUNDS
    rate, p50, p99 = (
        Interval(*(one[f"{n}{end}"] for end in ("", "_low", "_high"))) for n in ("rate", "p50_ms", "p99_ms")
    )
    times = [numbers.milliseconds(i) if thorough else numbers.significant(i.value, 3) for i in (p50, p99)]
    return [
        *found,
        whole(rate) if thorough else f"{rate.value:,.0f}",
        *times,
        numbers.fixed(one["batch"], 1) if one["batch"] else DASH,
        numbers.fixed(one["cpu_us"] or 0.0, 0),
        numbers.fixed(one["memory_bytes"] / 1e6, 0) if one["memory_bytes"] else DASH,
        "best" if one["best"] else ", ".join(line for line in one["line"] if line != BEST),
    ]


def text(records: Sequence[Mapping[str, Any]]) -> str:
    """The table in monospaced text."""
    return "\n".join(table.aligned([list(_HEADERS), *cells(records)], words=_WORDS))


def page(records: Sequence[Mapping[str, Any]], above: str) -> str:
    """The table in HTML below what is given; all text is escaped."""
    body = []
    for row in cells(records):
        mark = ' class="dk-best"' if row[-1] == "best" else ""
        inside = "".join(f"<td{table.classed(_kind(i))}>{html.escape(cell)}</td>" for i, cell in enumerate(row))
        body.append(f"<tr{mark}>{inside}</tr>")
    framed = table.framed(_HEADERS, body, "Settings that were measured", _kind)
    return f'<style>{table.CSS}{THEMED}</style><div class="dk-report">{above}{framed}</div>'


def _kind(column: int) -> str:
    return "" if column in _WORDS else "dk-n"

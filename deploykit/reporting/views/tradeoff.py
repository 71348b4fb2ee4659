"""The trade-off chart: quality against cost, with intervals, baseline, limit and choice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from deploykit.choosing.pareto import beaten_by, competing, device
from deploykit.core.result import Interval, Result
from deploykit.reporting import numbers
from deploykit.reporting.families import Families
from deploykit.reporting.places import runtime_label
from deploykit.reporting.rows import records
from deploykit.reporting.views import sweet_spot

#: Colors of runtimes in registry order; contrast at least 3:1, distinguishable with the common color deficiencies.
LIGHT = ("#0F4C9C", "#9A3A0A", "#1B9A78", "#CB3FD6", "#98860D", "#2F3337")
DARK = ("#4596FF", "#E0762F", "#62E3B3", "#F5A6EE", "#F2E65A", "#8C9196")
#: Share of the width from which on the baseline is at the right end.
_LATE = 0.8
#: Share of the height, from below, in which the limit's word is above its line.
_LOWEST = 0.15
#: Points whose intervals are all drawn.
_MOST_BARS = 300
_TICKS = [m * 10.0**e for e in range(-4, 6) for m in (1, 2, 5)]
#: Axes a chart can have: name → (title, field, error-bar fields, logarithmic).
AXES: dict[str, tuple[str, str, bool]] = {
    "latency": ("Latency p50, ms (log scale) ← faster", "p50_ms", True),
    "size": ("Size, kB (log scale) ← smaller", "size_kb", True),
    "compressed_size": ("Size after gzip, kB (log scale) ← smaller", "compressed_kb", True),
    "memory": ("Peak memory, MB (log scale) ← smaller", "memory_mb", True),
    "cpu": ("CPU time of an inference, ms (log scale) ← cheaper", "cpu_ms", True),
}


@dataclass(frozen=True)
class Standing:
    """Where a measured candidate stands in quality and latency.

    Attributes:
        state: ``"front"``: no other on its device is better on both by estimate; ``"tied"``: none is with 95 %
            confidence; ``"beaten"``.
        rival: What beats it by most.
        claim: What the rival is at 95 % confidence: ``"faster"`` or ``"better"``.
    """

    state: Literal["front", "tied", "beaten"]
    rival: Result | None = None
    claim: Literal["faster", "better", ""] = ""


def standings(rows: Sequence[Result], baseline: str) -> dict[str, Standing]:
    """Standing of each candidate that is timed on the baseline's hardware, by key."""
    rivals = [
        r for r in competing(rows, baseline) if r.status == "measured" and r.measurement and r.measurement.latency
    ]
    beaten = beaten_by(rivals)
    found = {}
    best: dict[str, float] = {}
    for row in sorted(rivals, key=_by_estimate):
        drop, place = _by_estimate(row)[1], device(row)
        if (rival := beaten.get(row.key)) is not None:
            claim: Literal["faster", "better"] = "faster" if _surely_faster(rival, row) else "better"
            found[row.key] = Standing("beaten", rival, claim)
        else:
            found[row.key] = Standing("front" if drop < best.get(place, math.inf) else "tied")
        best[place] = min(best.get(place, math.inf), drop)
    return found


def _by_estimate(row: Result) -> tuple[float, float]:
    assert row.measurement is not None
    assert row.measurement.latency is not None
    return -row.measurement.latency.speedup.value, row.measurement.score.drop.value


def _surely_faster(one: Result, other: Result) -> bool:
    first, second = (r.measurement.latency if r.measurement else None for r in (one, other))
    return first is not None and second is not None and first.speedup.low > second.speedup.high


def points(rows: Sequence[Result], baseline: str, chosen: str = "") -> list[dict[str, Any]]:
    """Plain rows of the chart: one for each candidate that has a score and a latency.

    ``change`` and its ends are in percentage points (percent for errors), so that up is what the metric calls better.
    """
    found = []
    for record in records(rows, baseline):
        if record["p50_ms"] is None or record["status"] == "failed":
            continue
        found.append(
            {
                "key": record["key"],
                "candidate": record["candidate"],
                "runtime": runtime_label(record["runtime"]),
                "threads": record["threads"],
                "family": record["family"],
                "metric": record["metric"].replace("_", " "),
                "change": 100 * record["change"],
                "change_low": 100 * record["change_low"],
                "change_high": 100 * record["change_high"],
                "p50_ms": record["p50_ms"],
                "p50_ms_low": max(record["p50_ms_low"], record["p50_ms"] / 10),
                "p50_ms_high": min(record["p50_ms_high"], record["p50_ms"] * 10),
                "cpu_ms": record["cpu_ms"],
                "size_kb": record["size_bytes"] / 1000,
                "compressed_kb": record["compressed_bytes"] / 1000,
                "memory_mb": (record["peak_memory_bytes"] or 0) / 1e6,
                "speedup": _ratio(record, "speedup"),
                "same_runtime": _ratio(record, "speedup_same_runtime"),
                "flags": ", ".join(numbers.flag(name) for name in record["flags"].split(", ")),
                "state": "on the front" if record["on_front"] else "beaten",
                "is_baseline": record["is_baseline"],
                "chosen": record["key"] == chosen,
            }
        )
    return found


def _ratio(record: dict[str, Any], name: str) -> str:
    if record[name] is None:
        return ""
    return numbers.times(Interval(record[name], record[f"{name}_low"], record[f"{name}_high"]))


def chart(
    rows: Sequence[Result],
    baseline: str,
    *,
    x: str = "latency",
    max_drop: float | None = None,
    chosen: str = "",
    relative: bool = False,
    higher_is_better: bool = True,
    dark: bool = False,
    sweet: str = "",
    width: int = 760,
    height: int = 360,
    also: Sequence[dict[str, Any]] = (),
) -> Any:
    """The chart as an Altair object; see `points` for its data.

    Args:
        rows: All rows.
        baseline: Key of the original model.
        x: The horizontal axis, see `AXES`.
        max_drop: Limit to draw.
        chosen: Key of the candidate to ring.
        relative: Whether changes are relative.
        higher_is_better: Direction of the metric.
        dark: Colors for a dark background.
        sweet: What makes the chosen candidate the sweet spot, for the legend; "" when it is not within the limit.
        width: Of the plot, pixels.
        height: Of the plot, pixels.
        also: Points of another chart that axes and legend must fit as well, so that the two can stand side by side.
    """
    import altair as alt

    data = points(rows, baseline, chosen)
    seen = [*data, *also]
    title, field, logarithmic = AXES[x]
    values = [p[field] for p in seen if p[field] > 0] or [1.0]
    low, high = min(values) / 1.25, max(values) * 1.25
    x_axis = alt.X(
        f"{field}:Q",
        title=title,
        scale=alt.Scale(type="log" if logarithmic else "linear", domain=[low, high], nice=False),
        axis=alt.Axis(values=[t for t in _TICKS if low <= t <= high], format="~g", grid=True),
    )
    unit = "percent" if relative else "percentage points"
    direction = "" if higher_is_better else " (down is better)"
    y_scale = alt.Scale(domain=_heights(seen, max_drop)) if also else alt.Scale(zero=True)
    metric = _metric(seen)
    y_axis = alt.Y("change:Q", title=f"{metric[:1].upper()}{metric[1:]} change, {unit}{direction}", scale=y_scale)
    base = alt.Chart(_values(alt, data))
    color = color_of(alt, seen, dark=dark)
    layers = [
        *_rules(alt, data, field, (low, high), max_drop if higher_is_better else None),
        *_bars(alt, _barred(base, data), field, x_axis, y_axis, color),
        *_leaving(alt, data, field, (low, high), y_axis, color),
    ]
    layers.append(_marks(alt, base, seen, x_axis, y_axis, color))
    rings = base.transform_filter("datum.chosen").encode(x=x_axis, y=y_axis)
    ink = "#ffffff" if dark else "#000000"
    layers.append(rings.mark_point(shape="circle", size=320, filled=False, stroke=ink, strokeWidth=1.5, aria=False))
    layers += sweet_spot.layers(alt, data, sweet, x_axis, y_axis, ink) if sweet else []
    return alt.layer(*layers).properties(width=width, height=height, description=summary(data, chosen, sweet))


def _heights(seen: Sequence[dict[str, Any]], max_drop: float | None) -> list[float]:
    """Ends of a vertical axis that holds zero, the limit and all intervals."""
    must = [0.0] if max_drop is None else [0.0, -100 * max_drop]
    low, high = (f([*must, *(p[name] for p in seen)]) for f, name in ((min, "change_low"), (max, "change_high")))
    room = 0.05 * (high - low or 1)
    return [low - room, high + room]


def _values(alt: Any, rows: list[dict[str, Any]]) -> Any:
    return alt.Data(values=rows)


def _rules(
    alt: Any, data: list[dict[str, Any]], field: str, shown: tuple[float, float], max_drop: float | None
) -> list[Any]:
    origin = [{"x": p[field], "y": 0.0} for p in data if p["is_baseline"]]
    dashed = {"strokeDash": [4, 3], "opacity": 0.6, "aria": False, "stroke": "#888888"}
    layers = []
    if origin:
        source = alt.Chart(_values(alt, origin))
        layers = [source.mark_rule(**dashed).encode(x="x:Q"), source.mark_rule(**dashed).encode(y="y:Q")]
        late = origin[0]["x"] > shown[0] * (shown[1] / shown[0]) ** _LATE  # its word would be cut at the right end
        side = {"align": "right", "dx": -4} if late else {"align": "left", "dx": 4}
        label = source.mark_text(text="baseline", baseline="top", fontSize=11, aria=False, **side)
        layers.append(label.encode(x="x:Q", y=alt.value(4)))
    if max_drop is not None:
        limit = alt.Chart(_values(alt, [{"y": -100 * max_drop}]))
        layers.append(limit.mark_rule(stroke="#c62828", aria=False).encode(y="y:Q"))
        low, high = _heights(data, max_drop)
        lowest = -100 * max_drop < low + _LOWEST * (high - low)  # below the line its word would be on the axis
        side = {"baseline": "bottom", "dy": -4} if lowest else {"baseline": "top", "dy": 4}
        words = limit.mark_text(
            text="your limit", align="left", dx=6, fontSize=11, aria=False, **side
        )  # the baseline's word is on the right, where the slowest are
        layers.append(words.encode(x=alt.value(0), y="y:Q"))
    return layers


def color_of(alt: Any, data: Sequence[dict[str, Any]], *, dark: bool) -> Any:
    """The channel of runtimes' colors."""
    from deploykit.core.registry import registry

    names = [runtime_label(name) for name in registry("deploykit.runtimes", "runtime").names()]
    used = [n for n in names if any(p["runtime"] == n for p in data)]
    palette = DARK if dark else LIGHT
    colors = [palette[min(names.index(n), len(palette) - 1)] for n in used]
    return alt.Color("runtime:N", title="runtime", scale=alt.Scale(domain=used, range=colors))


def _barred(base: Any, data: list[dict[str, Any]]) -> Any:
    """The points that have bars: of very many only those of the front can be distinguished."""
    return base if len(data) <= _MOST_BARS else base.transform_filter("datum.state == 'on the front'")


def _bars(alt: Any, base: Any, field: str, x_axis: Any, y_axis: Any, color: Any) -> list[Any]:
    faint = alt.condition("datum.state == 'on the front'", alt.value(0.8), alt.value(0.25))
    vertical = base.mark_rule(strokeWidth=1.2, aria=False).encode(
        x=x_axis, y=alt.Y("change_low:Q"), y2="change_high:Q", opacity=faint, color=color
    )
    layers = [vertical]
    if field == "p50_ms":
        across = base.mark_rule(strokeWidth=1.2, aria=False, clip=True).encode(
            x=alt.X("p50_ms_low:Q"),
            x2="p50_ms_high:Q",
            y=y_axis,
            opacity=faint,
            color=color,
        )
        layers.append(across)
    return layers


def _leaving(
    alt: Any, data: list[dict[str, Any]], field: str, shown: tuple[float, float], y_axis: Any, color: Any
) -> list[Any]:
    """Marks at the edges where an interval leaves the chart."""
    if field != "p50_ms":
        return []
    low, high = shown
    ends = [{**p, "edge": low, "side": "left"} for p in data if p["p50_ms_low"] < low]
    ends += [{**p, "edge": high, "side": "right"} for p in data if p["p50_ms_high"] > high]
    source = alt.Chart(_values(alt, ends))
    return [
        source.transform_filter(f"datum.side == '{side}'")
        .mark_point(size=40, filled=True, shape=f"triangle-{side}", aria=False)
        .encode(x="edge:Q", y=y_axis, color=color)
        for side in ("left", "right")
        if any(end["side"] == side for end in ends)
    ]


def _marks(alt: Any, base: Any, data: list[dict[str, Any]], x_axis: Any, y_axis: Any, color: Any) -> Any:
    families = Families().listed(point["family"] for point in data)
    tooltip = [
        alt.Tooltip(f"{name}:{kind}", title=label, **({"format": form} if form else {}))
        for name, kind, label, form in (
            ("candidate", "N", "candidate", ""), ("runtime", "N", "runtime", ""), ("threads", "Q", "threads", ""),
            ("change", "Q", "change", "+.2f"), ("p50_ms", "Q", "p50, ms", ".4~f"), ("speedup", "N", "speed-up", ""),
            ("same_runtime", "N", "vs float32, same runtime", ""), ("size_kb", "Q", "size, kB", ",.0f"),
            ("compressed_kb", "Q", "gzip, kB", ",.0f"), ("state", "N", "state", ""), ("flags", "N", "flags", ""),
        )
    ]  # fmt: skip
    return base.mark_point(size=70, strokeWidth=1.6, aria=False).encode(
        x=x_axis,
        y=y_axis,
        color=color,
        fill=alt.condition("datum.state == 'on the front'", color, alt.value("transparent")),
        shape=alt.Shape(
            "family:N",
            title="technique",
            scale=alt.Scale(domain=list(families), range=list(families.values())),
        ),
        tooltip=tooltip,
    )


def _metric(data: Sequence[dict[str, Any]]) -> str:
    return str(data[0]["metric"]) if data else "metric"


def summary(data: Sequence[dict[str, Any]], chosen: str = "", sweet: str = "") -> str:
    """The chart in a sentence, for screen readers."""
    if not data:
        return "Trade-off chart, no candidate measured yet."
    latency = [p["p50_ms"] for p in data]
    change = [p["change"] for p in data]
    text = (
        f"Trade-off chart of {len(data)} candidates: latency from {min(latency):.3g} to {max(latency):.3g} ms, "
        f"{_metric(data)} change from {min(change):.2f} to {max(change):.2f}; "
        f"{sum(p['state'] == 'on the front' for p in data)} on the front."
    )
    best = next((p for p in data if p["key"] == chosen), None)
    said = f"Sweet spot ({sweet})" if sweet else "Chosen"
    return text + (f" {said}: {best['candidate']} on {best['runtime']}, {best['p50_ms']:.3g} ms." if best else "")


def png(drawn: Any, scale: float = 2.0) -> bytes:
    """The chart as a picture; needs no network."""
    import vl_convert

    picture: bytes = vl_convert.vegalite_to_png(drawn.to_dict(), scale=scale)
    return picture

"""What the live trade-off chart looks like: an Altair chart over named datasets, see `live_chart` for their rows."""

from __future__ import annotations

from typing import Any

import altair as alt

from deploykit.reporting import tradeoff
from deploykit_widgets.live_chart import FAMILIES, FRAME, HEIGHT, MARKS, PICK, POINTS, WIDTH, runtime_names

#: Measured and drawn in the same font: a wider one would run over the axis.
_FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"


def specification(x_title: str, y_title: str, rows: dict[str, list[dict[str, Any]]], *, bars_across: bool) -> Any:
    """The Altair chart over the named datasets."""
    x = alt.X(
        "x:Q",
        title=x_title,
        scale=alt.Scale(type="log", nice=False),
        axis=alt.Axis(
            values=alt.ExprRef(f"length(data('{FRAME}')) ? data('{FRAME}')[0].ticks : []"),
            format="~g", labelOverlap=True, labelFlush=False,
        ),
    )  # fmt: skip
    y = alt.Y("change:Q", title=y_title, scale=alt.Scale(nice=False, zero=False), axis=alt.Axis(tickCount=7))
    layers = [*_ground(x, y), *_bars(x, y, across=bars_across), *_points(x, y)]
    return (
        alt.layer(*layers)
        .properties(width=WIDTH, height=HEIGHT, datasets=rows, autosize=alt.AutoSizeParams(type="pad", resize=True))
        .configure(background="transparent", font=_FONT)
        .configure_view(stroke="#888888", strokeOpacity=0.5)
        .configure_axis(
            gridColor="#888888",
            gridOpacity=0.18,
            domain=False,
            labelFontSize=11,
            titleFontSize=12,
            titleFontWeight="normal",
        )
    )


def _ground(x: Any, y: Any) -> list[Any]:
    """What lies under the points: the frame that sets the axes, the forbidden side, baseline and limit."""
    corner = alt.Chart(alt.NamedData(FRAME)).mark_point(opacity=0, aria=False, tooltip=None)
    marks = alt.Chart(alt.NamedData(MARKS))
    limit = marks.transform_filter("datum.kind == 'limit'")
    baseline = marks.transform_filter("datum.kind == 'baseline'")
    dashed: dict[str, Any] = {"strokeDash": [4, 3], "stroke": "#777777", "aria": False}
    words: dict[str, Any] = {"fontSize": 11, "aria": False, "fill": "#666666"}
    return [
        corner.encode(x=_axis_of(x, "x_low"), y=_axis_of(y, "y_low")),
        corner.encode(x=_axis_of(x, "x_high"), y=_axis_of(y, "y_high")),
        limit.mark_rect(fill="#808080", opacity=0.08, aria=False).encode(y=_axis_of(y, "y"), y2=alt.value(HEIGHT)),
        limit.mark_rule(stroke="#c62828", strokeWidth=1.2, aria=False).encode(y=_axis_of(y, "y")),
        limit.mark_text(align="left", baseline="top", dx=6, dy=4, **words).encode(
            y=_axis_of(y, "y"), x=alt.value(0), text="text:N"
        ),
        baseline.mark_rule(**dashed).encode(x=_axis_of(x, "x")),
        baseline.mark_rule(**dashed).encode(y=_axis_of(y, "y")),
        baseline.mark_text(align="left", baseline="top", dx=4, **words).encode(
            x=_axis_of(x, "x"), y=alt.value(4), text="text:N"
        ),
        alt.Chart(alt.NamedData(FRAME))
        .mark_text(align="left", baseline="top", text="↖ better", **words)
        .encode(x=alt.value(6), y=alt.value(4)),
    ]


def _axis_of(channel: Any, field: str) -> Any:
    """The same scale and axis for another column."""
    made = channel.copy()
    made.shorthand = f"{field}:Q"
    return made


def _color() -> Any:
    names = list(runtime_names())
    colors = [tradeoff.LIGHT[min(i, len(tradeoff.LIGHT) - 1)] for i in range(len(names))]
    return alt.Color("runtime:N", legend=None, scale=alt.Scale(domain=names, range=colors))


def _bars(x: Any, y: Any, *, across: bool) -> list[Any]:
    base = alt.Chart(alt.NamedData(POINTS))
    strong = alt.condition("datum.state == 'on the front' || datum.shown", alt.value(0.85), alt.value(0.3))
    color = _color()
    rule = base.mark_rule(strokeWidth=1.2, clip=True, aria=False).encode(color=color, opacity=strong)
    layers = [rule.encode(x=x, y=_axis_of(y, "change_low"), y2="change_high:Q")]
    if across:
        layers.append(rule.encode(x=_axis_of(x, "p50_ms_low"), x2="p50_ms_high:Q", y=y))
    return layers


def _points(x: Any, y: Any) -> list[Any]:
    base = alt.Chart(alt.NamedData(POINTS))
    color = _color()
    shape = alt.Shape("family:N", legend=None, scale=alt.Scale(domain=list(FAMILIES), range=list(FAMILIES.values())))
    tooltip = [
        alt.Tooltip(f"{name}:{kind}", title=title, format=form or alt.Undefined)
        for name, kind, title, form in (
            ("candidate", "N", "candidate", ""), ("runtime", "N", "runtime", ""), ("threads", "Q", "threads", ""),
            ("change", "Q", "change", "+.2f"), ("p50_ms", "Q", "p50, ms", ".4~f"), ("speedup", "N", "speed-up", ""),
            ("same_runtime", "N", "against float32 there", ""), ("size_kb", "Q", "size, kB", ",.0f"),
            ("compressed_kb", "Q", "gzip, kB", ",.0f"), ("state", "N", "state", ""), ("flags", "N", "flags", ""),
        )
    ]  # fmt: skip
    pick = alt.selection_point(name=PICK, fields=["key"], on="click", empty=False, clear=False, toggle="false")
    drawn = base.mark_point(size=62, strokeWidth=1.6, clip=True, aria=False).encode(
        x=x, y=y, color=color, shape=shape,
        fill=alt.condition("datum.state == 'on the front'", color, alt.value("transparent")),
    )  # fmt: skip
    ring: dict[str, Any] = {"shape": "circle", "filled": False, "aria": False}
    noisy = base.transform_filter("indexof(datum.flags, 'noisy') >= 0").mark_point(
        size=190, strokeDash=[3, 2], strokeWidth=1.1, **ring
    )
    shown = base.transform_filter("datum.shown")
    # Larger than the marks, so that a click need not be exact; it lies on top and cannot be seen.
    target = base.mark_point(size=420, shape="circle", filled=True, opacity=0, clip=True, aria=False)
    return [
        drawn,
        noisy.encode(x=x, y=y, color=color),
        shown.mark_point(size=300, strokeWidth=1.8, stroke="#222222", **ring).encode(x=x, y=y),
        shown.mark_text(text="A", dx=-14, dy=-10, fontSize=12, fontWeight="bold", fill="#222222", aria=False).encode(
            x=x, y=y
        ),
        target.encode(x=x, y=y, tooltip=tooltip).add_params(pick),
    ]

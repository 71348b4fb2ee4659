"""The live trade-off chart: an Altair chart over named datasets that the browser fills and patches.

Everything that changes while the chart is shown is data or a parameter, so one view in the browser can be reused:
positions (logarithms are already applied), the ends of the axes and their ticks, and the colors of the theme. The rows
of the datasets are made by ``tradeoff/points.ts``.
"""

from __future__ import annotations

from typing import Any

from deploykit.reporting.views.sweet_spot import GOLD, STAR

#: Parameters the browser sets, with their initial values.
PARAMETERS: dict[str, Any] = {
    "x0": 0, "x1": 1, "y0": 0, "y1": 1,
    "xticks": [], "xlabels": [], "yticks": [], "ylabels": [],
    "ink": "#000000", "muted": "#5a5a5a", "line": "#e0e0e0", "blue": "#1976d2", "bandOpacity": 0.15,
}  # fmt: skip
#: Datasets the browser fills, from the back to the front.
DATASETS = (
    "forbidden",
    "band",
    "rules",
    "limits",
    "bars",
    "leaving",
    "weak",
    "strong",
    "rings",
    "sweet",
    "pointed",
    "marks",
)


def specification() -> dict[str, Any]:
    """The chart as a Vega-Lite specification without data."""
    import altair as alt

    layers = [*_ground(alt), *_bars(alt), *_points(alt), *_marks(alt)]
    chart = (
        alt.layer(*layers)
        .add_params(*(alt.param(name=name, value=value) for name, value in PARAMETERS.items()))
        .properties(width=600, height=300, autosize=alt.AutoSizeParams(type="none"))
        .configure(background="transparent")
        .configure_view(stroke=alt.expr("line"))
        .configure_mark(invalid="show")  # the browser sends nothing that is not finite: no filters over all points
    )
    spec: dict[str, Any] = chart.to_dict(context={"pre_transform": False})
    return spec


def _x(alt: Any, field: str = "x") -> Any:
    return alt.X(f"{field}:Q", scale=_scale(alt, "x"), axis=_axis(alt, "x"))


def _y(alt: Any, field: str = "y") -> Any:
    return alt.Y(f"{field}:Q", scale=_scale(alt, "y"), axis=_axis(alt, "y"))


def _scale(alt: Any, name: str) -> Any:
    return alt.Scale(domain=[alt.ExprRef(f"{name}0"), alt.ExprRef(f"{name}1")], nice=False, zero=False)


def _axis(alt: Any, name: str) -> Any:
    return alt.Axis(
        title=None,  # beside the canvas, where it can be read and found
        values=alt.ExprRef(f"{name}ticks"),
        labelExpr=f"{name}labels[indexof({name}ticks, datum.value)]",
        labelColor=alt.ExprRef("muted"),
        labelFontSize=11,
        labelFlush=24,  # a label at an end stays within the chart
        labelOverlap="greedy",
        gridColor=alt.ExprRef("line"),
        gridOpacity=0.7,
        domain=False,
        ticks=False,
        labelPadding=6,
    )


def _of(alt: Any, name: str) -> Any:
    return alt.Chart(alt.NamedData(name))


def _flat(**more: Any) -> dict[str, Any]:
    """Hides marks from screen readers, which use the chart's description and the table instead."""
    return {"aria": False, "clip": True, "tooltip": None, **more}


def _ground(alt: Any) -> list[Any]:
    """The layers under the points: the area beyond the limit, the band, and labeled baseline and limit."""
    ink, muted = alt.ExprRef("ink"), alt.ExprRef("muted")
    x, y = _x(alt), _y(alt)
    words = {"fontSize": 11, "fill": muted, "baseline": "top", "dy": 4}
    return [
        _of(alt, "forbidden").mark_rect(**_flat(fill=ink, opacity=0.05)).encode(x=x, x2="x2", y=y, y2="y2"),
        _of(alt, "band")
        .mark_area(**_flat(interpolate="step-after", fill=alt.ExprRef("blue"), opacity=alt.ExprRef("bandOpacity")))
        .encode(x=x, y=y, y2="y2"),
        _of(alt, "rules").mark_rule(**_flat(stroke=muted, strokeDash=[4, 3])).encode(x=x, x2="x2", y=y, y2="y2"),
        _of(alt, "rules").mark_text(**_flat(align="left", dx=5, **words)).encode(x=x, y=_y(alt, "y2"), text="text:N"),
        _of(alt, "rules")
        .mark_text(**_flat(align="right", dx=-5, **words))
        .encode(x=x, y=_y(alt, "y2"), text="textBefore:N"),
        _of(alt, "limits").mark_rule(**_flat(stroke=ink, strokeWidth=1.2)).encode(x=x, x2="x2", y=y, y2="y2"),
        _of(alt, "limits")
        .mark_text(**_flat(align="right", dx=-6, **words))
        .encode(x=_x(alt, "x2"), y=y, text="text:N"),
        _of(alt, "limits").mark_text(**_flat(align="left", dx=6, **words)).encode(x=x, y=y, text="textStart:N"),
    ]


def _bars(alt: Any) -> list[Any]:
    """Intervals on both axes, with a mark where one leaves the chart.

    Intervals of selected or hovered points are drawn again on top, so the others need not change.
    """
    x, y = _x(alt), _y(alt)
    look = {
        "color": alt.Color("color:N", scale=None, legend=None),
        "opacity": alt.Opacity("opacity:Q", scale=None, legend=None),
    }
    leaving = (
        _of(alt, "leaving")
        .mark_point(**_flat(size=34, filled=True) | {"clip": False})
        .encode(x=x, y=y, shape=alt.Shape("shape:N", legend=None, scale=None), **look)
    )
    bars = [
        layer
        for rule in (_of(alt, name).mark_rule(**_flat(strokeWidth=1.2)) for name in ("bars", "pointed"))
        for layer in (
            rule.encode(x=x, y=_y(alt, "yLow"), y2="yHigh", **look),
            rule.encode(x=_x(alt, "xLow"), x2="xHigh", y=y, **look),
        )
    ]
    return [*bars, leaving]


def _points(alt: Any) -> list[Any]:
    """Beaten candidates, below those on the front."""
    shape = alt.Shape("mark:N", legend=None, scale=None)
    return [
        _of(alt, name)
        .mark_point(**_flat(size=62, strokeWidth=1.6))
        .encode(
            x=_x(alt),
            y=_y(alt),
            shape=shape,
            stroke=alt.Stroke("color:N", scale=None, legend=None),
            fill=alt.Fill("fill:N", scale=None, legend=None),
            opacity=alt.Opacity("opacity:Q", scale=None, legend=None),
        )
        for name in ("weak", "strong")
    ]


def _marks(alt: Any) -> list[Any]:
    """Rings for noisy candidates; the star; rings and letters for A, B and the hovered point."""
    ink = alt.ExprRef("ink")
    ring = {"shape": "circle", "filled": False}
    x, y = _x(alt), _y(alt)
    return [
        _of(alt, "rings")
        .mark_point(**_flat(size=330, strokeDash=[3, 2.5], strokeWidth=1.3, **ring))
        .encode(
            x=x,
            y=y,
            stroke=alt.Stroke("color:N", scale=None, legend=None),
            opacity=alt.Opacity("opacity:Q", scale=None, legend=None),
        ),
        _of(alt, "sweet")
        .mark_point(
            **_flat(
                shape=STAR, size=130, fill=GOLD, stroke=ink, strokeWidth=1, strokeJoin="round", xOffset=13, yOffset=-12
            )
        )
        .encode(x=x, y=y),
        _of(alt, "marks")
        .mark_point(**_flat(strokeWidth=1.8, stroke=ink, **ring))
        .encode(x=x, y=y, size=alt.Size("size:Q", scale=None, legend=None)),
        _of(alt, "marks")
        .mark_text(**_flat(dx=-15, dy=-9, fontSize=13, fontWeight="bold", fill=ink))
        .encode(x=x, y=y, text="text:N"),
    ]

"""How a monitor is shown: the plain rows of its charts, the charts, and its tables."""

from __future__ import annotations

import html
import time
from collections.abc import Mapping, Sequence
from typing import Any

from deploykit.monitoring.operation.alarms import clock
from deploykit.monitoring.operation.status import ModelStatus, MonitorStatus
from deploykit.reporting.numbers import DASH
from deploykit.reporting.views.html import THEMED
from deploykit.reporting.views.table import CSS
from deploykit.reporting.views.tradeoff import DARK, LIGHT

_HEADERS = ("Model", "Requests/s", "Failed", "run p50, ms", "run p99, ms", "exported p99", "Drift", "Accuracy")
_WIDTH, _HEIGHT = 620, 90
#: Lines of fewer points show each of them.
_FEW = 60


def points(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Plain rows of the charts: one for each moment and series.

    Args:
        history: Points of a version's past, see `Monitor.history`.

    Returns:
        Rows with ``at`` (ISO 8601, UTC), ``series`` (``"evidence"``, ``"rate"``, ``"failed"``, ``"p50_ms"`` or
        ``"p99_ms"`` of the run stage) and ``value``.
    """
    found = []
    for point in history:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(point["at"])) + f".{int(point['at'] % 1 * 1000):03d}Z"
        values = {series: point.get(series) for series in ("evidence", "rate", "failed")}
        values |= dict(zip(("p50_ms", "p99_ms"), point.get("run") or (None, None), strict=True))
        found += [{"at": at, "series": name, "value": value} for name, value in values.items() if value is not None]
    return found


def chart(model: ModelStatus, history: Sequence[Mapping[str, Any]], *, dark: bool) -> Any:
    """Evidence of drift against its threshold, latency against what was exported, and rate (Altair)."""
    import altair as alt

    rows = points(history)
    palette = DARK if dark else LIGHT
    limit = "#ff8a80" if dark else "#c62828"
    x = alt.X("at:T", title=None, axis=alt.Axis(labelFlush=True, tickCount=6))

    def panel(series: Sequence[str], title: str, rule: float | None, said: str, *, log: bool = False) -> Any:
        data = [row for row in rows if row["series"] in series and (not log or row["value"] > 0)]
        values = [row["value"] for row in data] + ([rule] if rule else []) or [1.0]
        domain = [min(values) / 1.5, max(values) * 1.5]
        scale = alt.Scale(type="log", domain=domain, nice=False) if log else alt.Scale(zero=True)
        y = alt.Y(
            "value:Q", title=title, scale=scale, axis=alt.Axis(tickCount=4, format="~g" if "p99_ms" in series else "~s")
        )
        colors = alt.Scale(domain=list(series), range=list(palette[: len(series)]))
        legend = None if len(series) == 1 else alt.Legend(title=None)
        lines = _chart(data).mark_line(point=len(data) < _FEW, aria=False)
        layers = [lines.encode(x=x, y=y, color=alt.Color("series:N", scale=colors, legend=legend))]
        if rule is not None:
            drawn = _chart([{"value": rule}]).encode(y=y)
            word = {"align": "left", "baseline": "bottom", "dx": 4, "dy": -2, "fontSize": 11, "aria": False}
            layers += [
                drawn.mark_rule(stroke=limit, strokeDash=[4, 3], aria=False),
                drawn.mark_text(text=said, color=limit, **word).encode(x=alt.value(0)),
            ]
        return alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT)

    panels = []
    drift = model.drift or {}
    if any(row["series"] == "evidence" for row in rows):
        panels.append(panel(["evidence"], "evidence (log)", drift.get("threshold"), "alarm", log=True))
    if any(row["series"] == "p99_ms" for row in rows):
        panels.append(panel(["p50_ms", "p99_ms"], "run, ms (log)", _exported(model), "exported p99", log=True))
    panels.append(panel(["rate"], "requests/s", None, ""))
    return alt.vconcat(*panels).resolve_scale(x="shared", color="independent").properties(description=describe(model))


def features(model: ModelStatus) -> list[dict[str, Any]]:
    """Plain rows of the features' chart: what moved most, first; see `deploykit.monitoring.detector`."""
    return list((model.drift or {}).get("features", ()))


def features_chart(model: ModelStatus, *, dark: bool) -> Any:
    """How far each feature has moved, in widths of its band (Altair)."""
    import altair as alt

    rows = features(model)
    palette = DARK if dark else LIGHT
    names = [row["name"] for row in rows]
    y = alt.Y("name:N", sort=names, title=None, axis=alt.Axis(labelLimit=260))
    title = "shift of the mean, in widths of the band within which all is well"
    x = alt.X("shift:Q", title=title, scale=alt.Scale(zero=True))
    color = alt.condition("abs(datum.shift) > 1", alt.value(palette[1]), alt.value(palette[5]))
    shown = ", ".join(f"{row['name']} {row['shift']:+.1f}" for row in rows[:5])
    bars = _chart(rows).mark_bar(aria=False, height=10).encode(x=x, y=y, color=color)
    band = _chart([{"shift": -1}, {"shift": 1}]).mark_rule(strokeDash=[4, 3], stroke="#888888", aria=False).encode(x=x)
    size = {"width": _WIDTH - 200, "height": 14 * max(1, len(rows))}
    return alt.layer(bars, band).properties(**size, description=f"Features that moved: {shown}.")


def _chart(rows: Sequence[Mapping[str, Any]]) -> Any:
    import altair as alt

    data: Any = alt.Data
    return alt.Chart(data(values=list(rows)))


def describe(model: ModelStatus) -> str:
    """A sentence for those who do not see the chart."""
    found = [f"{model.name}, version {model.version}"]
    if model.performance is not None:
        found.append(f"{model.performance.rate:.3g} requests a second")
        found += [
            f"run p99 {stage.p99_ms.value:.3g} ms" for stage in model.performance.stages
            if stage.stage == "run" and stage.p99_ms is not None
        ]  # fmt: skip
    if model.drift is not None:
        found.append(str(model.drift.get("text", "")))
    return "; ".join(found) + "."


def _exported(model: ModelStatus) -> float | None:
    stages = model.performance.stages if model.performance is not None else ()
    return next((stage.exported_p99_ms for stage in stages if stage.stage == "run"), None)


def cells(model: ModelStatus) -> list[str]:
    """The cells of a version's row."""
    found = model.performance
    run = next((s for s in found.stages if s.stage == "run"), None) if found is not None else None
    exported = _exported(model)
    return [
        f"{model.name}/{model.version}",
        DASH if found is None else f"{found.rate:.3g}",
        DASH if found is None else f"{found.failed.value:.2%}",
        DASH if run is None or run.p50_ms is None else f"{run.p50_ms.value:.3g}",
        DASH if run is None or run.p99_ms is None else f"{run.p99_ms.value:.3g}",
        DASH if exported is None else f"{exported:.3g}",
        str((model.drift or {}).get("text", "")) or model.note or DASH,
        str((model.accuracy or {}).get("text", "")) or DASH,
    ]


def page(status: MonitorStatus, drawn: str) -> str:
    """The whole as HTML."""
    said = "".join(
        f'<li class="dk-alarm"><strong>Alarm.</strong> {html.escape(str(alarm))}</li>' for alarm in status.alarms
    )
    said = said or f"<li>No alarms at {clock(status.at)}.</li>"
    said += "".join(f"<li>{html.escape(problem)}</li>" for problem in status.problems)
    heads = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in _HEADERS)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells(model)) + "</tr>" for model in status.models
    )
    body = f'<div class="dk-scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    return f'<div class="dk-report"><style>{CSS}{THEMED}</style><ul>{said}</ul>{body}{drawn}</div>'

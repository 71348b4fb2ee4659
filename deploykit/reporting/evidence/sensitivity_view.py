"""How a pass of sensitivity is shown: the plain rows of its chart, the chart, and the table."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Any

from deploykit.core.errors import unknown_name
from deploykit.core.parameter import short
from deploykit.reporting import numbers
from deploykit.reporting.evidence.sensitivity_rows import Damage, SensitivityRow
from deploykit.reporting.views.html import THEMED
from deploykit.reporting.views.table import CSS
from deploykit.reporting.views.tradeoff import DARK, LIGHT

_SIDES = {"only": "only this", "all_but": "all but this"}
_SORTS = {"order": "in the order of the graph", "damage": "worst first"}
_SCORES = {"fidelity": "Lost fidelity to the original's outputs, %", "drop": "Loss of the metric, {unit}"}
#: Columns of the table that are text.
_WORDS = 2


def points(rows: Sequence[SensitivityRow], score: str, sort: str) -> list[dict[str, Any]]:
    """See `Sensitivity.points`; the rows are worst first, what was not measured one by one is last."""
    for what, value, known in (("score", score, _SCORES), ("order", sort, _SORTS)):
        if value not in known:
            raise unknown_name(what, value, known)
    if sort == "order":
        rows = sorted(rows, key=lambda r: (r.kind == "others", r.order))
    shown = []
    for place, row in enumerate(rows):
        for side, damage in (("only", row.only), ("all_but", row.all_but)):
            if damage is None:
                continue
            loss = damage.fidelity if score == "fidelity" else damage.drop
            shown.append(
                {
                    "place": place,
                    "name": row.name,
                    "label": short(row.shown),
                    "type": row.type or "several",
                    "side": _SIDES[side],
                    "loss": 100 * loss.value,
                    "low": 100 * loss.low,
                    "high": 100 * loss.high,
                    "fidelity": numbers.points(damage.fidelity),
                    "drop": numbers.points(damage.drop),
                    "weights": row.weights,
                }
            )
    return shown


def chart(
    data: list[dict[str, Any]],
    score: str,
    *,
    whole: Damage | None,
    metric: str,
    relative: bool,
    summary: str,
    dark: bool,
) -> Any:
    """The chart as an Altair object; see `points` for its data."""
    import altair as alt

    palette = DARK if dark else LIGHT
    types = list(dict.fromkeys(p["type"] for p in sorted(data, key=lambda p: p["place"])))
    colors = [palette[i % len(palette)] for i in range(len(types))]
    title = _SCORES[score].format(unit="%" if relative else "percentage points")
    y = alt.Y(
        "name:N",
        title=None,
        sort=alt.EncodingSortField("place", order="ascending"),
        axis=alt.Axis(labelExpr=_label(data), labelLimit=240),
    )
    x = alt.X("loss:Q", title=title, scale=alt.Scale(zero=True))
    color = alt.Color("type:N", title="type", scale=alt.Scale(domain=types, range=colors))
    sides = list(_SIDES.values())
    base = alt.Chart(_values(alt, data))
    shift = alt.YOffset("side:N", sort=sides)
    rules = base.mark_rule(strokeWidth=1.2, opacity=0.7, aria=False).encode(
        y=y, yOffset=shift, x=alt.X("low:Q", title=title), x2="high:Q", color=color
    )
    marks = base.mark_point(size=60, strokeWidth=1.6, aria=False).encode(
        y=y,
        yOffset=shift,
        x=x,
        color=color,
        fill=alt.condition(f"datum.side == '{sides[0]}'", color, alt.value("transparent")),
        shape=alt.Shape("side:N", title="changed", scale=alt.Scale(domain=sides, range=["circle", "diamond"])),
        tooltip=[
            alt.Tooltip("name:N"), alt.Tooltip("type:N"), alt.Tooltip("side:N", title="changed"),
            alt.Tooltip("fidelity:N", title="lost fidelity, %"), alt.Tooltip("drop:N", title=f"lost {metric}"),
            alt.Tooltip("weights:Q", format=","),
        ],
    )  # fmt: skip
    layers = [rules, marks]
    if whole:
        loss = whole.fidelity if score == "fidelity" else whole.drop
        line = alt.Chart(_values(alt, [{"whole": 100 * loss.value}]))
        layers.insert(0, line.mark_rule(strokeDash=[4, 3], stroke="#888888", aria=False).encode(x=alt.X("whole:Q")))
    return alt.layer(*layers).properties(width=560, height=alt.Step(12), description=f"Loss by layer. {summary}")


def _label(data: list[dict[str, Any]]) -> str:
    """Names are the axis, since ends of names may be equal; what is shown are the ends."""
    return f"({json.dumps({p['name']: p['label'] for p in data})})[datum.value]"


def _values(alt: Any, rows: list[dict[str, Any]]) -> Any:
    return alt.Data(values=rows)


def cells(rows: Sequence[SensitivityRow], metric: str) -> list[list[str]]:
    """Titles, then the rows."""
    head = ["", "type", "weights", "only: fidelity, %", f"only: {metric}", "all but: fidelity, %",
            f"all but: {metric}"]  # fmt: skip
    body = []
    for row in rows:
        sides = [
            numbers.points(loss) if loss else numbers.DASH
            for damage in (row.only, row.all_but)
            for loss in ((damage.fidelity, damage.drop) if damage else (None, None))
        ]
        name = f"all {row.name}" if row.kind == "type" else short(row.shown)
        body.append([name, row.type, f"{row.weights:,}", *sides])
    return [head, *body]


def text(table: list[list[str]]) -> str:
    """The table in monospaced text; see `cells`."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [_line(row, widths) for row in table]
    return "\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:]])


def _line(row: list[str], widths: list[int]) -> str:
    padded = (c.ljust(w) if i < _WORDS else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
    return "  ".join(padded).rstrip()


def page(table: list[list[str]], summary: str, drawn: str) -> str:
    """Chart (a picture, so that saved notebooks keep it), summary and table in HTML; all text is escaped."""
    head, *body = ([html.escape(cell) for cell in row] for row in table)
    classes = [' class="dk-n"' if i >= _WORDS else "" for i in range(len(head))]
    heads = "".join(f'<th scope="col"{k}>{c}</th>' for k, c in zip(classes, head, strict=True))
    rows = "".join(f"<tr>{''.join(f'<td{k}>{c}</td>' for k, c in zip(classes, row, strict=True))}</tr>" for row in body)
    return (
        f'<style>{CSS}{THEMED}</style><div class="dk-report">{drawn}<p>{html.escape(summary)}</p>'
        f'<div class="dk-scroll" tabindex="0" role="group" aria-label="Layers">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div></div>"
    )

"""The Workbench in a saved notebook: plain HTML that every notebook viewer shows.

It has no scripts, style elements or external addresses, because viewers remove these or request them from the network.
All styles are inline and work on light and dark pages alike; the chart is a picture with its own background.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.reporting.views import table, tradeoff
from deploykit.reporting.views.drawing import svg_of

if TYPE_CHECKING:
    from deploykit.core.result import Result
    from deploykit.reporting.report import Choice, Report
    from deploykit_widgets.state import State

#: Rows of the table. If there are more candidates, only the most relevant are shown.
_MOST_ROWS = 200
#: A longer SVG is stored as pixels instead.
_MOST_SVG = 120_000
#: Points of the picture. If there are more, the front and some of the others: drawing takes 4 ms per point.
_MOST_POINTS = 300
#: Numbers of cells across the picture, from fine to coarse; each cell keeps one point.
_CELLS = (128, 96, 64, 48, 40, 32, 28, 24, 20, 16, 12, 8)
#: The first columns are text, the others numbers.
_TEXT_COLUMNS = 2
_BOX = "font-family:system-ui,sans-serif;font-size:13px;line-height:1.5"
_CELL = "padding:3px 9px;border-bottom:1px solid #8886;white-space:nowrap"
_CODE = "padding:8px 10px;border:1px solid #8886;border-radius:4px;overflow-x:auto;font-size:12px"


def document(parts: Iterable[str]) -> str:
    """Join parts into one piece of HTML."""
    return f'<div class="dk-report dk-still" style="{_BOX}">{"".join(parts)}</div>'


def paragraph(words: object, *, strong: bool = False) -> str:
    """A paragraph of plain text."""
    said = html.escape(str(words))
    return f"<p>{f'<b>{said}</b>' if strong else said}</p>"


def code(text: str) -> str:
    """Preformatted text."""
    return f'<pre style="{_CODE}">{html.escape(text)}</pre>'


class Still:
    """The static form of results, updated often: the chart is drawn again only when it would differ."""

    def __init__(self) -> None:
        self._drawn: tuple[Report, frozenset[str], str] | None = None

    def results(self, report: Report, chosen: Choice | None = None, other: Choice | None = None) -> Iterable[str]:
        """Chart, choice and table.

        Args:
            report: The results.
            chosen: The candidate that is shown as A; None: the best for the goal of the sweep.
            other: B.
        """
        rows = report.rows
        marked = frozenset(c.key for c in (chosen, other) if c is not None)
        if not any(row.status == "measured" for row in rows):
            yield paragraph("No candidate has been measured yet.")
        if any(row.measurement and row.measurement.latency for row in rows):
            yield self._picture(report, marked)
        if chosen is not None:
            yield from _choice(chosen, other)
        yield _table(report, marked, chosen.key if chosen else "")

    def _picture(self, report: Report, marked: frozenset[str]) -> str:
        drawn = self._drawn
        if drawn is None or drawn[0] is not report or not marked <= drawn[1]:
            page, points = picture(report, marked)
            self._drawn = drawn = report, points, page
        return drawn[2]


def other_of(state: State) -> Choice | None:
    """B, the candidate that the chosen one is compared with, or None."""
    report, key = state.report, state.second
    if report is None or not key or report.rows.get(key) is None:
        return None
    return report.choice_for(key, minimize=state.goal.minimize, max_drop=state.goal.max_drop)


def picture(report: Report, kept: Iterable[str] = ()) -> tuple[str, frozenset[str]]:
    """The chart of a report as a picture, and the keys of the candidates it shows.

    Args:
        report: The results.
        kept: Keys of candidates that are always drawn.
    """
    points = tradeoff.points(report.rows, report.baseline)
    drawn_report, words = report, ""
    drawn = {row.key for row in report.rows}
    if len(points) > _MOST_POINTS:
        drawn = _thinned(report, points, set(kept))
        drawn_report = dataclasses.replace(report, rows=report.rows.only(drawn))
        words = paragraph(
            f"{len(drawn):,} of {len(points):,} points: the front, and one of each group that lies close together."
        )
    chart = drawn_report.chart().configure(background="#ffffff")
    data, kind = svg_of(chart.to_dict(validate=False)).encode(), "svg+xml"
    if len(data) > _MOST_SVG:
        data, kind = tradeoff.png(chart, scale=1.5), "png"
    alt = html.escape(tradeoff.summary(points), quote=True)
    style = "max-width:100%;background:#ffffff;padding:8px;border-radius:4px;box-sizing:border-box"
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return f'<p><img alt="{alt}" style="{style}" src="{source}"></p>{words}', frozenset(drawn)


def _thinned(report: Report, points: Sequence[dict[str, Any]], kept: set[str]) -> set[str]:
    """Keys of points that give the same picture: the front, the ends of both axes, and one per cell."""
    across, up = [math.log(p["p50_ms"]) for p in points], [p["change"] for p in points]
    ends = {points[places.index(f(places))]["key"] for places in (across, up) for f in (min, max)}
    must = kept | ends | {report.baseline, report.best().key}
    must |= {p["key"] for p in points if p["state"] == "on the front"}
    must &= {p["key"] for p in points}
    found: set[str] = must
    for cells in _CELLS:
        wide, high = ((max(places) - min(places)) / cells or 1.0 for places in (across, up))
        one = {(x // wide, y // high): p["key"] for p, x, y in zip(points, across, up, strict=True)}
        found = must | set(one.values())
        if len(found) <= max(_MOST_POINTS, len(must)):
            return found
    return must


def _choice(chosen: Choice, other: Choice | None) -> Iterable[str]:
    first, *rest = dict.fromkeys([*chosen.explain().split("\n"), *chosen.report.notes])
    name = "Best so far" if chosen.decision is not None else "Chosen"
    yield paragraph(f"{name}: {first}", strong=True)
    if rest:
        yield f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in rest)}</ul>"
    if other is not None:
        yield paragraph(f"Compared with: {other.result.label}. {chosen.compare(other)}")


def _table(report: Report, kept: frozenset[str], chosen: str) -> str:
    rows: Sequence[Result] = report.rows
    said = ""
    if len(rows) > _MOST_ROWS:
        front = [r.key for r in report.pareto(report.goal().minimize)][:_MOST_ROWS]
        failed = [r.key for r in rows if r.status == "failed"][: _MOST_ROWS // 4]
        wanted = {report.baseline, *kept, *front, *failed}
        shown = [r for r in rows if r.key in wanted]
        said = paragraph(
            f"{len(shown):,} of {len(rows):,} rows: the original model, the best trade-offs, what is chosen, and what "
            "failed. All are in the store: report.to_frame() and report.to_html()."
        )
        rows = shown
    good, failed_rows = table.ordered(rows)
    head = table.headers(report.metric, relative=report.relative)
    lines = ["".join(_cell("th", place, words, ' scope="col"') for place, words in enumerate(head))]
    for row, words in zip(good, table.cells(good, relative=report.relative), strict=True):
        weight = ";font-weight:600" if row.key == chosen else ""
        lines.append("".join(_cell("td", place, w, "", weight) for place, w in enumerate(words)))
    for row in failed_rows:
        assert row.failure is not None
        where = row.candidate.target.runtime
        cause = (
            f'<td colspan="{len(head) - 2}" style="{_CELL};white-space:normal">{html.escape(row.failure.cause)}</td>'
        )
        lines.append(_cell("td", 0, f"{row.label} [failed]") + _cell("td", 1, where) + cause)
    body = "".join(f"<tr>{line}</tr>" for line in lines[1:])
    style = "border-collapse:collapse;font-size:12px;font-variant-numeric:tabular-nums"
    return (
        f'{said}<div style="overflow-x:auto"><table style="{style}"><thead><tr>{lines[0]}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(tag: str, place: int, words: str, attributes: str = "", style: str = "") -> str:
    align = "left" if place < _TEXT_COLUMNS else "right"
    return f'<{tag}{attributes} style="{_CELL};text-align:{align}{style}">{html.escape(words)}</{tag}>'

"""The Workbench as a saved notebook keeps it: plain HTML that every viewer of notebooks shows.

No script, style element or address of another place: viewers remove those, or ask the network for them. All style is on
the elements, and works on light and dark pages alike; the chart is a picture on a background of its own.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.reporting import table, tradeoff

if TYPE_CHECKING:
    from deploykit.core.result import Result
    from deploykit.reporting.choice import Choice
    from deploykit.reporting.report import Report
    from deploykit_widgets.state import State

#: Rows of the table. Of more candidates, those worth reading.
_MOST_ROWS = 200
#: A longer picture is stored as pixels instead.
_MOST_SVG = 120_000
#: The first columns are text, the others numbers.
_TEXT_COLUMNS = 2
_BOX = "font-family:system-ui,sans-serif;font-size:13px;line-height:1.5"
_CELL = "padding:3px 9px;border-bottom:1px solid #8886;white-space:nowrap"
_CODE = "padding:8px 10px;border:1px solid #8886;border-radius:4px;overflow-x:auto;font-size:12px"


def document(parts: Iterable[str]) -> str:
    """Parts as one piece of HTML."""
    return f'<div class="dk-report dk-still" style="{_BOX}">{"".join(parts)}</div>'


def paragraph(words: object, *, strong: bool = False) -> str:
    """A paragraph of plain text."""
    said = html.escape(str(words))
    return f"<p>{f'<b>{said}</b>' if strong else said}</p>"


def code(text: str) -> str:
    """Text as it is."""
    return f'<pre style="{_CODE}">{html.escape(text)}</pre>'


def results(report: Report, chosen: Choice | None = None, other: Choice | None = None) -> Iterable[str]:
    """Chart, choice and table.

    Args:
        report: The results.
        chosen: The candidate that is shown as A; None: the best for the goal of the sweep.
        other: B.
    """
    rows = report.rows
    if not any(row.status == "measured" for row in rows):
        yield paragraph("No candidate is measured yet.")
    if any(row.measurement and row.measurement.latency for row in rows):
        yield picture(report)
    if chosen is not None:
        yield from _choice(chosen, other)
    yield _table(report, {c.key for c in (chosen, other) if c is not None}, chosen.key if chosen else "")


def other_of(state: State) -> Choice | None:
    """B, the candidate that the chosen one is compared with; None when there is none."""
    report, key = state.report, state.second
    if report is None or not key or report.rows.get(key) is None:
        return None
    return report.choice_for(key, minimize=state.goal.minimize, max_drop=state.goal.max_drop)


def picture(report: Report) -> str:
    """The chart of a report as a picture."""
    from deploykit.reporting.drawing import svg

    drawn = report.chart().configure(background="#ffffff")
    data, kind = svg(drawn).encode(), "svg+xml"
    if len(data) > _MOST_SVG:
        data, kind = _pixels(drawn), "png"
    alt = html.escape(tradeoff.summary(tradeoff.points(report.rows, report.baseline)), quote=True)
    style = "max-width:100%;background:#ffffff;padding:8px;border-radius:4px;box-sizing:border-box"
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return f'<p><img alt="{alt}" style="{style}" src="{source}"></p>'


def _pixels(chart: Any) -> bytes:
    import vl_convert

    return bytes(vl_convert.vegalite_to_png(chart.to_dict(), scale=1.5))


def _choice(chosen: Choice, other: Choice | None) -> Iterable[str]:
    first, *rest = dict.fromkeys([*chosen.explain().split("\n"), *chosen.report.notes])
    name = "Best so far" if chosen.decision is not None else "Chosen"
    yield paragraph(f"{name}: {first}", strong=True)
    if rest:
        yield f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in rest)}</ul>"
    if other is not None:
        yield paragraph(f"Compared with: {other.result.label}. {chosen.compare(other)}")


def _table(report: Report, kept: set[str], chosen: str) -> str:
    rows: Sequence[Result] = report.rows
    said = ""
    if len(rows) > _MOST_ROWS:
        front = [r.key for r in report.pareto(report.goal().minimize)][:_MOST_ROWS]
        failed = [r.key for r in rows if r.status == "failed"][: _MOST_ROWS // 4]
        wanted = {report.baseline, *kept, *front, *failed}
        shown = [r for r in rows if r.key in wanted]
        said = paragraph(
            f"{len(shown):,} of {len(rows):,} rows: the model as given, the best trade-offs, what is chosen, and what "
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

"""The report as HTML for notebooks, and pictures of charts; neither needs the network."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.reporting.views import table
from deploykit.reporting.views.drawing import picture

if TYPE_CHECKING:
    from deploykit.core.result import Result
    from deploykit.reporting.report import Report

#: Rows of a table in a notebook.
_MOST_ROWS = 200


def notebook(report: Report) -> str:
    """Chart (a picture, so that saved notebooks keep it), choice and table."""
    parts = [f"<style>{table.CSS}{THEMED}</style>", '<div class="dk-report">']
    if any(r.measurement and r.measurement.latency for r in report.rows):
        parts.append(_pictures(report))
    parts += [_choice(report), _short_table(report), "</div>"]
    return "".join(parts)


def _short_table(report: Report) -> str:
    """The table; of very many candidates those that can be chosen and those that failed, to keep notebooks small."""
    rows = report.rows
    if len(rows) <= _MOST_ROWS:
        return _table(report)
    kept = {report.baseline, *(r.key for r in report.pareto(report.goal().minimize))}
    shown = [r for r in rows if r.key in kept or r.status == "failed"]
    said = f"{len(shown):,} of {len(rows):,} rows: the original model, the front, and what failed."
    return f"<p>{said} All are in report.to_frame() and report.to_html().</p>{_table(report, shown)}"


#: Pictures for light or dark pages in a notebook.
THEMED = """
.dk-report .dk-dark{display:none}
body[data-jp-theme-light="false"] .dk-report .dk-light{display:none}
body[data-jp-theme-light="false"] .dk-report .dk-dark{display:inline}
"""


def _pictures(report: Report) -> str:
    """The chart for light and for dark pages."""
    return pictures(lambda dark: report.chart(dark=dark))


def pictures(draw: Callable[[bool], Any], before: str = "", **legend: Any) -> str:
    """A chart for light and for dark pages.

    Args:
        draw: Makes the chart, for a dark background or not.
        before: What is read out before the description of the light one.
        legend: Where its legend stands, as Altair's ``configure_legend`` takes it.
    """
    found = []
    text = ""
    for name, dark in (("dk-light", False), ("dk-dark", True)):
        chart = draw(dark)
        text = text or f"{before}{chart.description}"
        found.append(picture(chart.to_dict(), text, name, dark=dark, legend=legend))
    return "".join(found)


def _choice(report: Report) -> str:
    if not any(r.status == "measured" for r in report.rows):
        return "<p>No candidate has been measured yet.</p>"
    said = report.best().explain().split("\n")
    first, *rest = (html.escape(line) for line in dict.fromkeys([*said, *report.notes]))
    return f"<p><b>Best so far: {first}</b></p><ul>{''.join(f'<li>{line}</li>' for line in rest)}</ul>"


def _table(report: Report, rows: Sequence[Result] | None = None) -> str:
    best = report.best().key if any(r.status == "measured" for r in report.rows) else ""
    return table.html_table(report.rows if rows is None else rows, report.metric, relative=report.relative, best=best)

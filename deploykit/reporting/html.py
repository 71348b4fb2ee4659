"""The report as HTML: a fragment for notebooks and a page of its own; neither needs the network."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.reporting import table, tradeoff
from deploykit.reporting.drawing import svg

if TYPE_CHECKING:
    from deploykit.core.result import Result
    from deploykit.reporting.report import Report

#: Rows of a table in a notebook.
_MOST_ROWS = 200
_PAGE_CSS = """
:root{color-scheme:light dark;--dk-back:#fff;--dk-ink:#111;--dk-line:#ccc}
@media (prefers-color-scheme:dark){:root{--dk-back:#161616;--dk-ink:#eee;--dk-line:#444}}
body{background:var(--dk-back);color:var(--dk-ink);font:15px/1.5 system-ui,sans-serif;max-width:1200px;margin:24px auto;
 padding:0 16px}
h1{font-size:22px}h2{font-size:17px;margin-top:28px}
.dk-report td,.dk-report th{border-color:var(--dk-line)!important}
.dk-chart{overflow-x:auto}
.dk-light,.dk-dark{max-width:100%}
.dk-dark{display:none}
@media (prefers-color-scheme:dark){.dk-light{display:none}.dk-dark{display:inline}}
code{font-size:13px}
"""


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
    said = f"{len(shown):,} of {len(rows):,} rows: the model as given, the front, and what failed."
    return f"<p>{said} All are in report.to_frame() and report.to_html().</p>{_table(report, shown)}"


#: Pictures for light or dark pages in a notebook.
THEMED = """
.dk-report .dk-dark{display:none}
body[data-jp-theme-light="false"] .dk-report .dk-light{display:none}
body[data-jp-theme-light="false"] .dk-report .dk-dark{display:inline}
"""


def page(report: Report) -> str:
    """A page with chart, choice, table, left-out combinations and environment."""
    title = html.escape(f"{report.model.name}: deployment report")
    has_chart = any(r.measurement and r.measurement.latency for r in report.rows)
    return "".join(
        [
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<style>{_PAGE_CSS}{table.CSS}</style></head><body><main class='dk-report'>",
            f"<h1>{title}</h1><p>{html.escape(str(report.model))}</p>",
            f'<div class="dk-chart">{_pictures(report)}</div>' if has_chart else "",
            "<h2>Choice</h2>",
            _choice(report),
            "<h2>All candidates</h2>",
            "<p>Changes and speed-ups are paired with the model as given; intervals are 95 %. Speed-ups whose "
            "interval does not clear 2 % are no claim. Filled points are on the front or cannot be told apart from "
            "it.</p>",
            _table(report),
            _left_out(report),
            _environment(report),
            "</main></body></html>",
        ]
    )


def _pictures(report: Report) -> str:
    """The chart for light and for dark pages."""
    text = tradeoff.summary(tradeoff.points(report.rows, report.baseline))
    return pictures(lambda dark: report.chart(dark=dark), text)


def pictures(draw: Callable[[bool], Any], text: str) -> str:
    """A chart for light and for dark pages.

    Args:
        draw: Makes the chart, for a dark background or not.
        text: The chart in words.
    """
    found = []
    for name, dark in (("dk-light", False), ("dk-dark", True)):
        ink = "#dddddd" if dark else "#222222"
        drawn = draw(dark).configure(background="transparent").configure_view(stroke="#888888", strokeOpacity=0.4)
        drawn = drawn.configure_axis(labelColor=ink, titleColor=ink, gridColor="#888888", gridOpacity=0.25)
        drawn = drawn.configure_legend(labelColor=ink, titleColor=ink).configure_text(color=ink)
        data = base64.b64encode(svg(drawn).encode()).decode()
        alt = html.escape(text, quote=True)
        found.append(f'<img class="{name}" alt="{alt}" src="data:image/svg+xml;base64,{data}">')
    return "".join(found)


def _choice(report: Report) -> str:
    if not any(r.status == "measured" for r in report.rows):
        return "<p>No candidate is measured yet.</p>"
    said = report.best().explain().split("\n")
    first, *rest = (html.escape(line) for line in dict.fromkeys([*said, *report.notes]))
    return f"<p><b>Best so far: {first}</b></p><ul>{''.join(f'<li>{line}</li>' for line in rest)}</ul>"


def _table(report: Report, rows: Sequence[Result] | None = None) -> str:
    best = report.best().key if any(r.status == "measured" for r in report.rows) else ""
    return table.html_table(report.rows if rows is None else rows, report.metric, relative=report.relative, best=best)


def _left_out(report: Report) -> str:
    left_out = report.facts.get("left_out", [])
    if not left_out:
        return ""
    items = "".join(f"<li>{html.escape(o['label'])}: {html.escape(o['reason'])}</li>" for o in left_out)
    head = f"<h2>Left out</h2><details><summary>{len(left_out)} combinations cannot be built</summary>"
    return f"{head}<ul>{items}</ul></details>"


def _environment(report: Report) -> str:
    row = next((r for r in report.rows if r.measurement and r.measurement.environment), None)
    if row is None or row.measurement is None:
        return ""
    facts = row.measurement.environment
    items = [f"<li>{html.escape(str(k))}: {html.escape(_plain(v))}</li>" for k, v in facts.items()]
    return f"<h2>Measured on</h2><ul>{''.join(items)}</ul>"


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)

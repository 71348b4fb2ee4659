"""The report as HTML: a page of its own, and what a notebook shows.

Neither needs the network or a script, and the page shows all of itself at every width.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from deploykit.choosing.goals import Goal
from deploykit.core.errors import DeploykitError
from deploykit.core.result import Result
from deploykit.reporting import numbers, verdict
from deploykit.reporting.evidence import gallery
from deploykit.reporting.picked import Picked
from deploykit.reporting.places import place
from deploykit.reporting.swept import Swept
from deploykit.reporting.views import footprint, table
from deploykit.reporting.views.html import THEMED, pictures

#: Makes the chart of a report, for a dark background or not.
Draw = Callable[[bool], Any]
#: Rows of a table in a notebook.
_MOST_ROWS = 200
#: Of the chart's plot, pixels: with its axis it fits a narrow page, and a wide one shows it larger.
_PLOT = {"width": 640, "height": 340}
#: Around it, pixels: the reader's font may be wider than the one its text was measured with.
_PADDING = {"left": 16, "right": 40, "top": 8, "bottom": 12}
CSS = """
:root{color-scheme:light dark;--dk-back:#fff;--dk-ink:#111;--dk-soft:#555;--dk-line:#ccc;--dk-good:#1b6e2c;
 --dk-bad:#a4262c;--dk-focus:#1a5fb4}
@media (prefers-color-scheme:dark){:root{--dk-back:#161616;--dk-ink:#eee;--dk-soft:#b0b0b0;--dk-line:#444;
 --dk-good:#7bd88f;--dk-bad:#ff9a9a;--dk-focus:#8ab4f8}}
body{background:var(--dk-back);color:var(--dk-ink);font:15px/1.5 system-ui,sans-serif;max-width:1500px;margin:24px auto;
 padding:0 16px;overflow-wrap:break-word}
h1{font-size:22px}h2{font-size:17px;margin-top:28px}h3{font-size:15px}h4{font-size:13px;margin:14px 0 4px}
ul{padding-left:24px}
summary:focus-visible{outline:2px solid var(--dk-focus);outline-offset:2px}
code{font-size:13px}
.dk-soft{color:var(--dk-soft)}
.dk-report .dk-chart img{width:min(100%,960px);height:auto}
.dk-report .dk-square img{width:min(100%,420px);height:auto}
.dk-dark{display:none}
@media (prefers-color-scheme:dark){.dk-light{display:none}.dk-dark{display:inline}}
.dk-report .dk-verdict{font-size:15px;font-weight:600;margin:4px 0}
.dk-verdict.dk-good{color:var(--dk-good)}.dk-verdict.dk-bad{color:var(--dk-bad)}
.dk-report table{width:100%}
.dk-report td,.dk-report th{border-color:var(--dk-line)!important;padding:4px 7px;vertical-align:top}
.dk-report th{white-space:normal;vertical-align:bottom}
.dk-report td{white-space:normal}
.dk-report td small{display:block;font-size:11px;font-weight:400;color:var(--dk-soft)}
.dk-report .dk-scroll{overflow-x:visible}
.dk-report .dk-badge{white-space:nowrap}
.dk-report td.dk-cause{min-width:0}
.dk-report td:first-child{min-width:11em}
.dk-facts{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px;margin:0}
.dk-facts dd,.dk-report td:first-child,.dk-cause{overflow-wrap:anywhere}
.dk-facts dt{color:var(--dk-soft)}.dk-facts dd{margin:0}
@media (min-width:1250px){.dk-report td.dk-n,.dk-report td:nth-child(2){white-space:nowrap}}
@media (max-width:860px){
 .dk-report table,.dk-report tbody,.dk-report tr,.dk-report td{display:block}
 .dk-report thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
 .dk-report tr{border-bottom:1px solid var(--dk-line);padding:8px 0;display:grid;
  grid-template-columns:repeat(auto-fit,minmax(22em,1fr));column-gap:24px}
 .dk-report thead tr{display:block}
 .dk-report td:first-child,.dk-report td:nth-child(2){grid-column:1/-1}
 .dk-report td,.dk-report td.dk-n{border:0;text-align:left;padding:1px 0}
 .dk-report td:first-child{font-weight:600;min-width:0}
 .dk-report td.dk-n{display:grid;grid-template-columns:9em 1fr;gap:8px}
 .dk-report td.dk-n::before{color:var(--dk-soft);font-weight:400}
 .dk-facts{display:block}
}
@media print{body{max-width:none}}
"""
#: Facts of the machine as people call them; others are shown under their own name.
_FACTS = {
    "cpu": "CPU",
    "cores": "Cores",
    "features": "CPU features",
    "machine": "Architecture",
    "system": "Operating system",
    "kernel": "Kernel",
    "host": "Host",
    "python": "Python",
    "packages": "Packages",
    "load": "Load at the time (1, 5, 15 minutes)",
    "governor": "Frequency governor",
    "deploykit": "deploykit",
}


def notebook(report: Swept, best: Picked | None, draw: Draw) -> str:
    """Chart (a picture, so that saved notebooks keep it), choice and table.

    Args:
        report: The report.
        best: The best candidate; None if none has been measured.
        draw: Makes the chart.
    """
    parts = [f"<style>{table.CSS}{THEMED}</style>", '<div class="dk-report">']
    if _timed(report):
        parts.append(pictures(draw))
    parts += [_best_so_far(report, best), _short_table(report, best.key if best else ""), "</div>"]
    return "".join(parts)


def _best_so_far(report: Swept, best: Picked | None) -> str:
    if best is None:
        return "<p>No candidate has been measured yet.</p>"
    said = best.explain().split("\n")
    first, *rest = (html.escape(line) for line in dict.fromkeys([*said, *report.notes]))
    return f"<p><b>Best so far: {first}</b></p><ul>{''.join(f'<li>{line}</li>' for line in rest)}</ul>"


def _short_table(report: Swept, best: str) -> str:
    """The table; of very many candidates those that can be chosen and those that failed, to keep notebooks small."""
    rows: Sequence[Result] = report.rows
    said = ""
    if len(rows) > _MOST_ROWS:
        kept = {report.baseline, *(r.key for r in report.pareto(report.goal().minimize))}
        rows = [r for r in rows if r.key in kept or r.status == "failed"]
        said = f"<p>{len(rows):,} of {len(report.rows):,} rows: the original model, the front, and what failed. "
        said += "All are in report.to_frame() and report.to_html().</p>"
    return said + table.html_table(rows, report.metric, relative=report.relative, best=best)


def page(report: Swept, goal: Goal, best: Picked | None, draw: Draw) -> str:
    """The page: chart, choice, table, left-out combinations, machine.

    Args:
        report: The report.
        goal: What choice and verdicts are about.
        best: The best candidate for that goal; None if none has been measured.
        draw: Makes the chart for that goal.
    """
    title = html.escape(f"{report.model.name}: deployment report")
    style = (
        f"{table.CSS}{CSS}{gallery.CSS}{labels(table.headers(report.metric, report.rows, relative=report.relative))}"
    )
    return "".join(
        [
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<style>{style}</style></head><body><main class='dk-report'>",
            f"<h1>{title}</h1><p>{html.escape(str(report.model))}</p>",
            _chart(report, draw),
            "<h2>Choice</h2>",
            _choice(report, goal, best),
            _changed(best),
            "<h2>All candidates</h2>",
            "<p>Changes and speed-ups are paired with the original model; intervals are 95 %. A speed-up whose "
            "interval does not clear 2 % is not claimed. Filled points are on the front or cannot be distinguished "
            "from it.</p>",
            _table(report, goal, best),
            _footprint(report, goal),
            _lengths(best),
            _left_out(report),
            _machine(report),
            "</main></body></html>",
        ]
    )


def labels(titles: Sequence[str]) -> str:
    """A style by which the titles of a table's columns stand before its numbers on narrow pages."""
    rules = [f"td.dk-n:nth-child({at})::before{{content:{_css_text(title)}}}" for at, title in enumerate(titles, 1)]
    return f"@media (max-width:860px){{{''.join(rules)}}}"


def _css_text(text: str) -> str:
    """A string of CSS that can hold any text, also inside of HTML."""
    return '"' + "".join(c if c.isalnum() or c in " ,%.-" else f"\\{ord(c):x} " for c in text) + '"'


def _timed(report: Swept) -> bool:
    return any(r.measurement and r.measurement.latency for r in report.rows)


def _chart(report: Swept, draw: Draw) -> str:
    if not _timed(report):
        return ""

    def sized(dark: bool) -> Any:
        return draw(dark).properties(**_PLOT, padding=_PADDING)

    # The legend is below the plot, so that neither the width nor the reader's font can cut it off.
    legend: dict[str, Any] = {"orient": "bottom", "columns": 4, "labelLimit": 0, "titleLimit": 0}
    return f'<div class="dk-chart">{pictures(sized, **legend)}</div>'


def _choice(report: Swept, goal: Goal, best: Picked | None) -> str:
    wanted = f"Goal: the lowest {_COSTS.get(goal.minimize, goal.minimize)}, with a loss of at most "
    wanted += f"{numbers.limit(goal.max_drop, relative=report.relative)} (95 % confidence)."
    if why := report.metric_reason:
        wanted += f" {why[:1].upper()}{why[1:]}"
    said = [f'<p class="dk-soft">{html.escape(wanted)}</p>']
    if best is None:
        return "".join([*said, "<p>No candidate has been measured yet.</p>"])
    judged = best.verdict()
    name = html.escape(f"{best.result.label} on {place(best.result.candidate.target)}")
    label = "Best so far" if best.met else "Closest so far"
    tone = {"good": " dk-good", "bad": " dk-bad", "neutral": ""}[judged.tone]
    said.append(f"<p>{label}: <b>{name}</b></p>")
    said.append(f'<p class="dk-verdict{tone}">{html.escape(str(judged))}</p>')
    rest = [line for line in best.explain().split("\n")[1:] if line != str(judged)]
    lines = dict.fromkeys([*rest, *report.notes])
    said.append(f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>")
    said.append(f'<p class="dk-soft">Its key, for the command line: <code>{html.escape(best.key)}</code></p>')
    return "".join(said)


def _changed(best: Picked | None) -> str:
    """What the choice changes in the answers; "" where the store has no outputs to compare."""
    said = best.changed() if best is not None else []
    if best is None or not said:
        return ""
    drawn = ""
    with suppress(DeploykitError):  # there are no confidences, or no labels
        found = best.calibration()
        drawn = pictures(lambda dark: found.chart(dark=dark), orient="bottom", direction="vertical")
        drawn = f'<div class="dk-square">{drawn}</div>'
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in said)
    examples = ""
    with suppress(DeploykitError):  # the data are gone
        text = best.report.contract.scored.kind == "text"
        examples = gallery.drawn(best.flips(), best.report.data, texts=text)
    return f"<h2>What compression changed</h2><ul>{lines}</ul>{drawn}{examples}"


_COSTS = {"latency": "latency", "size": "size", "compressed_size": "size after gzip", "memory": "peak memory",
          "cpu": "CPU time", "load": "load time", "energy": "energy", "cost": "cost of a prediction",
          "writing": "time of a written token"}  # fmt: skip


def _table(report: Swept, goal: Goal, best: Picked | None) -> str:
    return table.html_table(
        report.rows, report.metric, relative=report.relative, best=best.key if best else "",
        remarks=_verdicts(report, goal),
    )  # fmt: skip


def _lengths(best: Picked | None) -> str:
    """The choice by the length of its inputs; "" where it was not timed so."""
    if best is None or not (best.measurement and best.measurement.lengths):
        return ""
    found = best.lengths()
    drawn = pictures(lambda dark: found.chart(dark=dark), orient="bottom")
    return f"<h2>By length</h2><p>{html.escape(found.summary())}</p>{drawn}"


def _footprint(report: Swept, goal: Goal) -> str:
    drawn = footprint.html_table(report.rows, goal.price_per_hour)
    return f"<h2>Loading, throughput, memory, energy</h2>{drawn}" if drawn else ""


def _verdicts(report: Swept, goal: Goal) -> Mapping[str, str]:
    """The beginning of each row's verdict, as the Workbench and ``explain`` say it; failed rows say theirs in full."""

    def said(row: Result) -> str:
        return verdict.verdict(
            row, goal, relative=report.relative, baseline=row.key == report.baseline, home=report.home
        ).headline

    return {row.key: said(row) for row in report.rows if row.status != "failed"}


def _left_out(report: Swept) -> str:
    left_out = report.facts.get("left_out", [])
    if not left_out:
        return ""
    items = "".join(f"<li>{html.escape(o['label'])}: {html.escape(o['reason'])}</li>" for o in left_out)
    count = f"{len(left_out)} combination{'s' if len(left_out) > 1 else ''} cannot be built"
    return f"<h2>Left out</h2><details><summary>{count}</summary><ul>{items}</ul></details>"


def _machine(report: Swept) -> str:
    row = next((r for r in report.rows if r.measurement and r.measurement.environment), None)
    if row is None or row.measurement is None:
        return ""
    items = [
        f"<dt>{html.escape(_FACTS.get(name, name.replace('_', ' ').capitalize()))}</dt>"
        f"<dd>{html.escape(_plain(value))}</dd>"
        for name, value in row.measurement.environment.items()
    ]
    return f'<h2>Measured on</h2><dl class="dk-facts">{"".join(items)}</dl>'


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)

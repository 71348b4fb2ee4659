"""The table of candidates under the chart, as HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence

from deploykit.core.registry import registry
from deploykit.core.result import Latency, Result
from deploykit.reporting import numbers
from deploykit.reporting.report import Report
from deploykit_widgets import live_chart, markup
from deploykit_widgets.markup import text

_COLUMNS = 6


def results_table(report: Report, shown: str, best: str) -> str:
    """All rows: measured ones fastest first, then those under way, failed ones at the end with cause and remedy.

    Args:
        report: The results.
        shown: Key of the candidate that the panels show.
        best: Key of the best so far.
    """
    front = {r.key for r in report.pareto()}
    rows, failed = ordered(report.rows)
    digits = numbers.digits_for([v.p50_ms.half_width for r in rows if (v := _latency(r)) is not None])
    unit = "%" if report.relative else "pp"
    head = ("A", "Candidate", f"Change, {unit}", "p50, ms ▲", "Speed-up", "Size, kB")
    top = "".join(f'<th scope="col"{_right(i)}{_sorted(i)}>{text(title)}</th>' for i, title in enumerate(head))
    body = "".join(_row(r, digits, shown == r.key, best == r.key, r.key in front) for r in rows)
    body += "".join(_failed(r, shown == r.key) for r in failed)
    return (
        '<div class="dk-scroll dk-results" tabindex="0"><table aria-label="Candidates, fastest first">'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def ordered(rows: Sequence[Result]) -> tuple[list[Result], list[Result]]:
    """Rows by latency, unknown ones last; and the failed ones."""

    def place(row: Result) -> float:
        latency = _latency(row)
        return latency.p50_ms.value if latency else math.inf

    return sorted((r for r in rows if r.status != "failed"), key=place), [r for r in rows if r.status == "failed"]


def where(row: Result) -> str:
    """Runtime, device, threads and batch in words."""
    target = row.candidate.target
    label = runtime_label(target.runtime)
    label += f" {target.device}" if target.device != "cpu" else ""
    label += f" · {target.threads} threads" if target.threads != 1 else ""
    return label + (f" · batch {target.batch_size}" if target.batch_size != 1 else "")


def runtime_label(name: str) -> str:
    """A runtime's name for people."""
    known = registry("deploykit.runtimes", "runtime")
    return str(known.get(name).label) if name in known else name


def name_of(row: Result) -> str:
    """A candidate in words."""
    return f"{row.label} · {where(row)}"


def badges(row: Result) -> list[str]:
    """What must be known of a row, in words."""
    latency = _latency(row)
    found = [*(latency.flags if latency else ()), *(["same file"] if row.same_as else ())]
    found += ["slower"] if latency is not None and latency.claim == "slower" else []
    return found if row.status == "measured" else [*found, "under way"]


def _latency(row: Result) -> Latency | None:
    return row.measurement.latency if row.measurement else None


def _row(row: Result, digits: int, shown: bool, best: bool, on_front: bool) -> str:
    latency, measurement = _latency(row), row.measurement
    baseline = latency is not None and latency.claim == "baseline"
    change = "baseline" if baseline else numbers.points(measurement.score.change) if measurement else numbers.DASH
    cells = [
        '<span class="dk-a" title="shown in the Candidate panel">A</span>' if shown else "",
        _candidate(row, filled=on_front, best=best),
        change,
        numbers.plus_minus(latency.p50_ms, digits) if latency else numbers.DASH,
        "baseline" if baseline else numbers.times(latency.speedup) if latency else numbers.DASH,
        numbers.kilobytes(measurement.size_bytes if measurement else None),
    ]
    kind = ' class="dk-shown" aria-selected="true"' if shown else ""
    return f"<tr{kind}>" + "".join(f"<td{_right(i)}>{c}</td>" for i, c in enumerate(cells)) + "</tr>"


def _candidate(row: Result, *, filled: bool, best: bool) -> str:
    drawn = markup.glyph(row.family, live_chart.color_of(row.candidate.target.runtime), filled=filled)
    shown = '<span class="dk-badge dk-blue">best so far</span>' if best else ""
    shown += "".join(f'<span class="dk-badge">{text(m)}</span>' for m in badges(row))
    return (
        f'<div class="dk-name">{drawn}<span class="dk-label-cell" title="{text(name_of(row))}">{text(row.label)}</span>'
        f'<span class="dk-soft dk-runtime">{text(where(row))}</span>{shown}</div>'
    )


def _failed(row: Result, shown: bool) -> str:
    failure = row.failure
    said = f"{name_of(row)}: {failure.cause if failure else 'unknown cause'}"
    remedy = f" <b>Remedy:</b> {text(failure.remedy)}" if failure and failure.remedy else ""
    log = f' <span class="dk-soft">Log: {text(failure.log)}</span>' if failure and failure.log else ""
    mark = '<span class="dk-a">A</span>' if shown else ""
    return (
        f'<tr class="dk-failed{" dk-shown" if shown else ""}"><td>{mark}</td><td colspan="{_COLUMNS - 1}">'
        f'<span class="dk-badge dk-bad">failed</span> {text(said)}{remedy}{log}</td></tr>'
    )


def _right(column: int) -> str:
    return ' class="dk-n"' if column >= 2 else ""


def _sorted(column: int) -> str:
    return ' aria-sort="ascending"' if column == 3 else ""

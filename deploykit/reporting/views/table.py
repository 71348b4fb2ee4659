"""The table of a report, as text and as HTML."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from deploykit.core.result import Result
from deploykit.reporting import numbers
from deploykit.reporting.numbers import DASH
from deploykit.reporting.places import place

CSS = """
.dk-report{font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:13px;color:var(--jp-ui-font-color0,inherit)}
.dk-report table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:12px;margin:8px 0}
.dk-report th{text-align:left;font-weight:600;padding:4px 10px;border-bottom:1px solid var(--jp-border-color1,#888);
 white-space:nowrap}
.dk-report td{padding:4px 10px;border-bottom:1px solid var(--jp-border-color2,#ccc);white-space:nowrap;text-align:left}
.dk-report td.dk-n,.dk-report th.dk-n{text-align:right}
.dk-report tr.dk-best td{font-weight:600}
.dk-report td.dk-cause{white-space:normal;min-width:24em}
.dk-report .dk-badge{border:1px solid currentColor;border-radius:4px;padding:0 4px;font-size:11px;font-weight:400}
.dk-report .dk-scroll{overflow-x:auto}
.dk-report caption{text-align:left;padding:4px 0;caption-side:top}
"""

_HEADERS = (
    "Candidate", "Runtime", "{metric}, %", "Change, pp", "p50, ms", "p90, ms", "CPU, ms", "Speed-up",
    "vs float32, same runtime", "Size, kB", "gzip, kB", "Memory, MB",
)  # fmt: skip
#: Columns at the left that hold words.
TEXT_COLUMNS = 2
_INTERVAL = re.compile(r"± \S+|\[[^]]*\]")
_RELATIVE_HEADERS = {"{metric}, %": "{metric}", "Change, pp": "Change, %"}


def cells(rows: Sequence[Result], *, relative: bool) -> list[list[str]]:
    """The cells of all rows that are not failed; badges are part of the candidate's cell."""
    more = attacked(rows)
    return [[*_cells(row, relative=relative), *([_robust(row)] if more else [])] for row in rows]


def attacked(rows: Iterable[Result]) -> bool:
    """Whether candidates were attacked, which takes a column more."""
    return any(row.measurement is not None and row.measurement.scored("robust_accuracy") for row in rows)


def _robust(row: Result) -> str:
    score = row.measurement.scored("robust_accuracy") if row.measurement else None
    return DASH if score is None else numbers.score(score.value, relative=False)


def _cells(row: Result, *, relative: bool) -> list[str]:
    where = place(row.candidate.target)
    measurement = row.measurement
    if measurement is None:
        return [row.label, where, *[DASH] * (len(_HEADERS) - 2)]
    score, latency = measurement.score, measurement.latency
    badges = [
        *(numbers.flag(name) for name in (latency.flags if latency else ())),
        *(["same file"] if row.same_as else ()),
    ]
    badges += ["stopped early"] if row.status == "stopped" else []
    badges += ["slower"] if latency and latency.claim == "slower" else []
    label = row.label + "".join(f" [{b}]" for b in badges)
    baseline = latency is not None and latency.claim == "baseline"
    value = numbers.score(score.value, relative=relative)
    found = [label, where, value, "baseline" if baseline else numbers.points(score.change)]
    if latency is None:
        found += [DASH] * 5
    else:
        found += [
            numbers.milliseconds(latency.p50_ms),
            numbers.beside(latency.p90_ms, latency.p50_ms),
            numbers.beside(latency.cpu_ms, latency.p50_ms),
            "baseline" if baseline else numbers.times(latency.speedup),
            numbers.times(latency.speedup_same_runtime),
        ]
    memory = measurement.peak_memory_bytes
    return [
        *found,
        numbers.kilobytes(measurement.size_bytes),
        numbers.kilobytes(measurement.compressed_bytes),
        numbers.megabytes(memory),
    ]


def headers(metric: str, rows: Iterable[Result] = (), *, relative: bool) -> list[str]:
    """Column titles of a table of these rows."""
    titles = [_RELATIVE_HEADERS.get(h, h) if relative else h for h in _HEADERS]
    titles += ["Robust, %"] if attacked(rows) else []
    return [t.format(metric=metric.replace("_", " ").capitalize() or "Metric") for t in titles]


def ordered(rows: Sequence[Result]) -> tuple[list[Result], list[Result]]:
    """Rows fastest first, unknown latencies last, and the failed ones apart."""

    def order(row: Result) -> float:
        latency = row.measurement.latency if row.measurement else None
        return -latency.speedup.value if latency else math.inf

    return sorted((r for r in rows if r.status != "failed"), key=order), [r for r in rows if r.status == "failed"]


def text_table(rows: Sequence[Result], metric: str, *, relative: bool, best: str = "") -> str:
    """The table in monospaced text; ``*`` marks the choice."""
    good, failed = ordered(rows)
    marks = ["* " if r.key == best else "  " for r in good]
    body = [[mark + c[0], *c[1:]] for mark, c in zip(marks, cells(good, relative=relative), strict=True)]
    table = [headers(metric, good, relative=relative), *body]
    lines = aligned(table, words=range(TEXT_COLUMNS))
    for row in failed:
        assert row.failure is not None
        remedy = f" Remedy: {row.failure.remedy}" if row.failure.remedy else ""
        log = f" (log: {row.failure.log})" if row.failure.log else ""
        lines.append(f"  failed: {row.label} on {place(row.candidate.target)}: {row.failure.cause}{remedy}{log}")
    return "\n".join(lines)


def aligned(rows: Sequence[Sequence[str]], words: Collection[int]) -> list[str]:
    """Rows as lines of one width, with a rule below the first.

    Args:
        rows: Titles, then cells.
        words: Columns of words, which begin at the left; numbers end at the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(c.ljust(w) if i in words else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
    lines = [line.rstrip() for line in lines]
    return [lines[0], "─" * max(map(len, lines)), *lines[1:]]


def framed(titles: Sequence[str], body: Iterable[str], label: str, kind: Callable[[int], str]) -> str:
    """A table that scrolls when it is too wide.

    Args:
        titles: Of its columns.
        body: Rows in HTML.
        label: What a screen reader calls it.
        kind: Class of a column, "" for words.
    """
    head = "".join(f'<th scope="col"{classed(kind(i))}>{html.escape(t)}</th>' for i, t in enumerate(titles))
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return f'<div class="dk-scroll" tabindex="0" role="group" aria-label="{html.escape(label)}">{table}</div>'


def line(cells: Iterable[str], kind: Callable[[int], str]) -> str:
    """A row of a table in HTML; all text is escaped.

    Args:
        cells: Its texts.
        kind: Class of a column, "" for words.
    """
    return f"<tr>{''.join(f'<td{classed(kind(i))}>{html.escape(cell)}</td>' for i, cell in enumerate(cells))}</tr>"


def classed(kind: str) -> str:
    """The attribute of a cell with a class."""
    return f' class="{kind}"' if kind else ""


def html_table(
    rows: Sequence[Result], metric: str, *, relative: bool, best: str = "", remarks: Mapping[str, str] | None = None
) -> str:
    """The table in HTML; all text is escaped.

    Args:
        rows: All rows.
        metric: Name of the metric.
        relative: Whether changes are relative.
        best: Key of the row to stress.
        remarks: What to say below a candidate's name, by key.
    """
    good, failed = ordered(rows)
    body = []
    for row, line in zip(good, cells(good, relative=relative), strict=True):
        mark = ' class="dk-best"' if row.key == best else ""
        remark = (remarks or {}).get(row.key, "")
        body.append(f"<tr{mark}>" + "".join(_cell(i, c, "" if i else remark) for i, c in enumerate(line)) + "</tr>")
    for row in failed:
        assert row.failure is not None
        said = f"{row.failure.cause} {'Remedy: ' + row.failure.remedy if row.failure.remedy else ''}"
        said += f" Log: {row.failure.log}" if row.failure.log else ""
        where = html.escape(place(row.candidate.target))
        body.append(
            f'<tr><td>{html.escape(row.label)} <span class="dk-badge">failed</span></td><td>{where}</td>'
            f'<td class="dk-cause" colspan="{len(_HEADERS) - 2}">{html.escape(said)}</td></tr>'
        )
    return framed(headers(metric, good, relative=relative), body, "Candidates", numeric)


def numeric(column: int) -> str:
    """Class of a column: candidate and runtime are words, the rest are numbers."""
    return "dk-n" if column >= TEXT_COLUMNS else ""


def _cell(column: int, text: str, remark: str = "") -> str:
    escaped = html.escape(text)
    if column == 0 and escaped.endswith("]") and " [" in escaped:
        label, *badges = escaped.split(" [")
        escaped = label + "".join(f' <span class="dk-badge">{b.removesuffix("]")}</span>' for b in badges)
    elif column:
        # Where a cell is narrow, the interval goes to a line of its own as a whole.
        escaped = _INTERVAL.sub(lambda found: found[0].replace(" ", "&nbsp;"), escaped)
    return f"<td{classed(numeric(column))}>{escaped}{f'<small>{html.escape(remark)}</small>' if remark else ''}</td>"

"""Two reports side by side, as an object that notebooks show; what it says is computed in `beside`."""

from __future__ import annotations

import html
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.choosing.goals import Goal
from deploykit.core.errors import unknown_name
from deploykit.measuring.ratios import MARGIN
from deploykit.reporting import beside, numbers
from deploykit.reporting.beside import Obstacle, Pair
from deploykit.reporting.numbers import DASH
from deploykit.reporting.places import place
from deploykit.reporting.report import Report
from deploykit.reporting.views import sweet_spot, table, tradeoff
from deploykit.reporting.views.drawing import shown
from deploykit.reporting.views.html import THEMED, pictures

if TYPE_CHECKING:
    import pandas as pd

#: Version of the JSON that `ReportComparison.to_json` gives.
SCHEMA = 1
_HEADERS = ("Candidate", "Runtime", "Change A, {unit}", "Change B, {unit}", "p50 A, ms", "p50 B, ms",
            "Speed-up A", "Speed-up B", "Size A, kB", "Size B, kB", "From A to B")  # fmt: skip
#: Rows of a table in a notebook.
_MOST_ROWS = 200
_CSS = """
.dk-report .dk-sides{display:flex;flex-wrap:wrap;gap:8px 24px}
.dk-report .dk-sides>div{flex:1 1 440px;min-width:0;max-width:640px}
.dk-report .dk-sides img{max-width:100%;height:auto}
@media (max-width:860px){.dk-report .dk-said{grid-column:1/-1}}
.dk-report td.dk-said{white-space:normal;min-width:14em}
"""


def compare_reports(a: Report | str | Path, b: Report | str | Path) -> ReportComparison:
    """Compare two reports, for example from two days or two machines.

    Candidates are paired by recipe and target. If the model, data or machine differ, the comparison says so and shows
    the numbers side by side without a claim. Each report has its own front.

    Args:
        a: A report, or the folder of its store.
        b: The report to compare it with.

    Raises:
        StoreError: One of the folders has no store, or no sweep in it.

    Example:
        >>> compared = dk.compare_reports("finished", "finished")
        >>> compared.summary
        '20 candidates in both; no change found.'
    """
    return ReportComparison(*(r if isinstance(r, Report) else Report.open(r) for r in (a, b)))


@dataclass(frozen=True)
class ReportComparison:
    """Two reports, candidate by candidate.

    Attributes:
        a: The first report.
        b: The second report.

    Example:
        >>> space = dk.Space([dk.Recipe((dk.Step("quantize_dynamic"),))], [dk.Target("onnxruntime")])
        >>> report = dk.sweep(model, data, space, store="runs/compared", launches=0)
        [...
        >>> comparison = dk.compare_reports(report, report)
        >>> len(comparison.pairs)
        2
    """

    a: Report
    b: Report

    @cached_property
    def names(self) -> tuple[str, str]:
        """Names for A and B: the parts in which their paths differ."""
        one, other = self.a.path.absolute().parts, self.b.path.absolute().parts
        if one == other:
            return one[-1], other[-1]
        count = next(n for n in range(1, max(len(one), len(other)) + 1) if one[-n:] != other[-n:])
        return "/".join(one[-count:]), "/".join(other[-count:])

    @cached_property
    def pairs(self) -> list[Pair]:
        """All candidates of both reports."""
        return beside.pairs(self.a, self.b)

    @cached_property
    def obstacles(self) -> list[Obstacle]:
        """What cannot be compared, and why; empty if everything can."""
        return beside.obstacles(self.a, self.b)

    @cached_property
    def notes(self) -> list[str]:
        """Further notes: versions, drift of the machine, different limits."""
        found = [o.text for o in self.obstacles]
        if changed := beside.versions(self.a, self.b):
            found.append(f"Versions differ: {', '.join(changed)}.")
        drifted = beside.drift(self.a, self.b)
        same_machine = all(o.kind not in ("machine", "model", "baseline") for o in self.obstacles)
        if drifted is not None and same_machine and abs(drifted - 1) > MARGIN:
            found.append(
                f"The original model took {numbers.fixed(drifted, 2)}× as long in B as in A: the machine or its load "
                "differed. "
                "Speed-ups are compared, in which that divides out."
            )
        if self.a.goal() != self.b.goal():
            found.append(f"The goals differ: {_goal(self.a)} in A, {_goal(self.b)} in B.")
        return found

    @cached_property
    def summary(self) -> str:
        """What changed, in one or two sentences."""
        both = [p for p in self.pairs if p.a is not None and p.b is not None]
        lonely = {side: sum(getattr(p, other) is None for p in self.pairs)
                  for side, other in (("A", "b"), ("B", "a"))}  # fmt: skip
        said = [f"{len(both):,} candidate{'' if len(both) == 1 else 's'} in both"]
        said += [f"{count:,} only in {side}" for side, count in lonely.items() if count]
        counts = [
            f"{count:,} {word}"
            for kind, better, worse in (
                ("latency", "faster", "slower"), ("quality", "more accurate", "less accurate"),
                ("size", "smaller", "larger"),
            )
            for claim, word in (("better", better), ("worse", worse))
            if (count := sum(getattr(p, kind).claim == claim for p in both))
        ]  # fmt: skip
        compared = any(getattr(p, k).claim != "not compared" for p in both for k in ("latency", "quality", "size"))
        change = ", ".join(counts) or ("no change found" if compared else "nothing can be compared")
        return f"{', '.join(said)}; {change}."

    def best(self) -> list[str]:
        """The best candidate of each report for its own goal, in one sentence each."""
        found = []
        for side, report in (("A", self.a), ("B", self.b)):
            if any(r.status == "measured" for r in report.rows):
                best = report.best()
                where = place(best.result.candidate.target)
                found.append(f"Best in {side} ({_goal(report)}): {best.result.label} on {where}. {best.verdict()}")
        return found

    # -- showing ----------------------------------------------------------------------------------------------------

    def chart(self, *, x: str = "latency", dark: bool = False) -> Any:
        """Both trade-off charts with the same axes (Altair), each with its own front.

        Args:
            x: See `Report.chart`.
            dark: Colors for a dark background.
        """
        import altair as alt

        drawn = self.sides(x=x, dark=dark)
        said = " ".join(f"{side}: {c.description}" for side, c in zip("AB", drawn, strict=True))
        return shown(alt.hconcat(*drawn).properties(description=f"{self.summary} {said}"))

    def sides(self, *, x: str = "latency", dark: bool = False) -> list[Any]:
        """The separate charts of A and B; see `chart`."""
        if x not in tradeoff.AXES:
            raise unknown_name("axis", x, tradeoff.AXES)
        points = [tradeoff.points(r.rows, r.baseline) for r in (self.a, self.b)]
        one_goal = self.a.goal() == self.b.goal()
        drawn = []
        for report, side, name, also in (
            (self.a, "A", self.names[0], points[1]), (self.b, "B", self.names[1], points[0]),
        ):  # fmt: skip
            goal = report.goal()
            best = report.best() if any(r.status == "measured" for r in report.rows) else None
            limit = numbers.limit(goal.max_drop, relative=report.relative) if one_goal else "its own limit"
            sweet = sweet_spot.words(limit) if best is not None and best.met else ""
            chart = tradeoff.chart(
                report.rows, report.baseline, x=x, max_drop=goal.max_drop, chosen=best.key if best else "",
                relative=report.relative, higher_is_better=bool(report.facts["higher_is_better"]), dark=dark,
                sweet=sweet, width=430, height=320, also=also,
            )  # fmt: skip
            drawn.append(chart.properties(title=f"{side}: {name}"))
        return drawn

    def to_frame(self) -> pd.DataFrame:
        """One row per candidate, with both sides and what changed; the index is the candidate's key."""
        import pandas as pd

        return pd.DataFrame.from_records(beside.records(self.pairs), index="key")

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data: ``schema``, both stores, ``summary``, ``notes``, ``obstacles`` and ``rows``."""
        return {
            "schema": SCHEMA,
            "a": str(self.a.path),
            "b": str(self.b.path),
            "summary": self.summary,
            "notes": self.notes,
            "best": self.best(),
            "obstacles": [{"kind": o.kind, "text": o.text} for o in self.obstacles],
            "rows": beside.records(self.pairs),
        }

    @property
    def _unit(self) -> str:
        return "%" if self.a.relative else "pp"

    @property
    def headers(self) -> list[str]:
        """Titles of the table's columns."""
        return [title.format(unit=self._unit) for title in _HEADERS]

    def cells(self) -> list[list[str]]:
        """The cells of the table, in the order of `headers`."""
        return [_cells(pair, self._unit) for pair in self.pairs]

    def __str__(self) -> str:
        lines = table.aligned([self.headers, *self.cells()], words=[*range(table.TEXT_COLUMNS), len(_HEADERS) - 1])
        sides = [f"{side}: {report.path}" for side, report in (("A", self.a), ("B", self.b))]
        return "\n".join([*sides, *lines, self.summary, *self.best(), *(f"note: {n}" for n in self.notes)])

    def __repr__(self) -> str:
        return f"ReportComparison({str(self.a.path)!r}, {str(self.b.path)!r}: {self.summary})"

    def _repr_mimebundle_(self, **_options: Any) -> dict[str, Any]:
        head = f"<style>{table.CSS}{THEMED}{_CSS}</style>"
        return {"text/plain": str(self), "text/html": f'{head}<div class="dk-report">{self.fragment(_MOST_ROWS)}</div>'}

    def to_html(self, path: str | Path | None = None) -> str:
        """A self-contained page with both charts and the table, written to ``path`` if given."""
        from deploykit.reporting.page import CSS, labels

        title = f"{self.names[0]} and {self.names[1]} side by side"
        style = f"{table.CSS}{CSS}{_CSS}{labels(self.headers)}"
        style += ".dk-report .dk-scroll{overflow-x:auto}"
        text = (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
            f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{style}</style></head>'
            f'<body><main class="dk-report"><h1>{html.escape(title)}</h1>{self.fragment()}</main></body></html>'
        )
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text, "utf-8")
        return text

    def fragment(self, most: int | None = None) -> str:
        """Summary, charts and table as HTML; all text is escaped.

        Args:
            most: Maximum number of table rows; None: all.
        """
        parts = [f"<p><b>{html.escape(self.summary)}</b></p>"]
        lines = [*self.best(), *self.notes]
        parts.append(f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>")
        if any(r.measurement and r.measurement.latency for report in (self.a, self.b) for r in report.rows):
            parts.append(f'<div class="dk-sides">{self._sides()}</div>')
        parts.append(self._table(most))
        return "".join(parts)

    def _sides(self) -> str:
        legend: dict[str, Any] = {"orient": "bottom", "columns": 4, "labelLimit": 0}
        light, dark = self.sides(), self.sides(dark=True)
        return "".join(
            f"<div>{pictures({False: light[place], True: dark[place]}.__getitem__, f'{side}: ', **legend)}</div>"
            for place, side in enumerate("AB")
        )

    def _table(self, most: int | None) -> str:
        cells = self.cells()
        body = (table.line(row, _kind) for row in cells[:most])
        cut = most is not None and len(cells) > most
        left = f"<p>{most:,} of {len(cells):,} rows; all are in to_frame() and to_html().</p>" if cut else ""
        return left + table.framed(self.headers, body, "Candidates of both reports", _kind)


def _kind(column: int) -> str:
    return "dk-said" if column == len(_HEADERS) - 1 else table.numeric(column)


def _goal(report: Report) -> str:
    goal: Goal = report.goal()
    return f"lowest {goal.minimize.replace('_', ' ')}, at most {numbers.limit(goal.max_drop, relative=report.relative)}"


def _cells(pair: Pair, unit: str) -> list[str]:
    found = [pair.row.label, pair.where]
    measured = [row.measurement if row else None for row in (pair.a, pair.b)]
    found += [numbers.points(m.score.change) if m else DASH for m in measured]
    latencies = [m.latency if m else None for m in measured]
    found += [numbers.milliseconds(v.p50_ms) if v else DASH for v in latencies]
    found += [("baseline" if v.claim == "baseline" else numbers.times(v.speedup)) if v else DASH for v in latencies]
    found += [numbers.kilobytes(m.size_bytes) if m else DASH for m in measured]
    return [*found, beside.in_one_line(pair, unit)]

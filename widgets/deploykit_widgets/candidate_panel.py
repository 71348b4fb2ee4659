"""Candidate: the verdict, the numbers beside the baseline's, and what is known of it."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from deploykit.core.result import Result
from deploykit.reporting import numbers
from deploykit.reporting.choice import Choice
from deploykit_widgets import markup
from deploykit_widgets.commands import Commands
from deploykit_widgets.markup import text
from deploykit_widgets.results_table import where


class CandidatePanel:
    """The candidate that was picked, or the best so far.

    Args:
        commands: Gives the state.
    """

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self.content = widgets.HTML()
        self.widget = widgets.VBox([self.content])
        self.widget.add_class("dk-candidate")
        commands.state.observe(self.show, "chosen", "report")
        self.show()

    def show(self) -> None:
        """Draw."""
        state = self._commands.state
        if state.chosen is None:
            self.content.value = markup.heading("Candidate") + markup.note(
                "Select a point in the chart or a candidate in the list."
            )
            return
        self.content.value = describe(state.chosen, follows_best=not state.picked)


def describe(choice: Choice, *, follows_best: bool) -> str:
    """A candidate as HTML."""
    row = choice.result
    _, verdict, *rest = choice.explain().split("\n")
    mark, kind = _state(choice)
    title = (
        f'<div class="dk-title"><span class="dk-a">A</span><div><b>{text(row.label)}</b>'
        f'<div class="dk-soft">{text(where(row))} · {text(row.candidate.target.device)}</div></div></div>'
    )
    aside = "best so far" if follows_best else "picked"
    details = "".join(f"<li>{text(line)}</li>" for line in rest)
    return (
        f"{markup.heading('Candidate', aside)}{title}"
        f'<div class="dk-verdict {kind}"><span aria-hidden="true">{mark}</span> {text(verdict)}</div>'
        f"{_numbers(choice)}"
        + (f'<div class="dk-label">What is known</div><ul class="dk-details">{details}</ul>' if details else "")
        + _recipe(row)
    )


def _state(choice: Choice) -> tuple[str, str]:
    """Mark and class of the verdict."""
    row = choice.result
    if row.status == "failed":
        return "✗", "dk-bad"
    if row.key == choice.report.baseline:
        return "", ""
    return ("✓", "dk-good") if row.status == "measured" and choice.met else ("!", "dk-fair")


def _numbers(choice: Choice) -> str:
    report, row = choice.report, choice.result
    if row.measurement is None:
        return ""
    baseline = report.row(report.baseline)
    relative = report.relative
    metric = report.metric.replace("_", " ")
    names = [
        (metric[:1].upper() + metric[1:]) + ("" if relative else ", %"), "Change, %" if relative else "Change, pp",
        "p50, ms", "p90, ms", "p99, ms", "CPU, ms", "Size, kB", "gzip, kB", "Memory, MB",
    ]  # fmt: skip
    columns = [_column(r, relative=relative) for r in (baseline, row)]
    if row.key == baseline.key:
        return markup.table(("", "Baseline"), zip(names, columns[0], strict=True), numbers=(1,), label="Numbers")
    rows = zip(names, *columns, strict=True)
    return markup.table(("", "Baseline", "A"), rows, numbers=(1, 2), label="Numbers of the baseline and of A")


def _column(row: Result, *, relative: bool) -> list[str]:
    measurement = row.measurement
    if measurement is None:
        return [numbers.DASH] * 9
    latency, score = measurement.latency, measurement.score
    digits = numbers.digits_for([latency.p50_ms.half_width]) if latency else 3
    baseline = latency is not None and latency.claim == "baseline"

    def milliseconds(value: float | None) -> str:
        return numbers.DASH if value is None else f"{value:.{max(digits, 3)}f}"

    memory = measurement.peak_memory_bytes
    return [
        f"{score.value:.4g}" if relative else f"{100 * score.value:.2f}",
        "" if baseline else numbers.points(score.change),
        numbers.plus_minus(latency.p50_ms, max(digits, 3)) if latency else numbers.DASH,
        milliseconds(latency.p90_ms if latency else None),
        milliseconds(latency.p99_ms if latency else None),
        milliseconds(latency.cpu_ms if latency else None),
        numbers.kilobytes(measurement.size_bytes),
        numbers.kilobytes(measurement.compressed_bytes),
        numbers.DASH if memory is None else f"{memory / 1e6:.1f}",
    ]


def _recipe(row: Result) -> str:
    """Recipe, notes of the build steps and the key, folded away."""
    steps: list[tuple[str, str]] = [("Key", f"<code>{text(row.key)}</code>"), ("Format", text(row.format))]
    steps += [("Step", text(s)) for s in row.candidate.recipe.steps]
    steps += [(k.replace("_", " ").capitalize(), text(_plain(v))) for k, v in row.notes.items()]
    if row.failure is not None and row.failure.log:
        steps.append(("Log", text(row.failure.log)))
    return f"<details><summary>Recipe</summary>{markup.facts(steps)}</details>"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)

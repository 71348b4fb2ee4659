"""Trade-off: the goal, the best so far, the live chart and the table."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from deploykit.reporting import numbers, tradeoff
from deploykit.reporting.choice import Choice
from deploykit.reporting.report import Report
from deploykit_widgets import live_chart, markup
from deploykit_widgets.commands import Commands
from deploykit_widgets.desk import user_only
from deploykit_widgets.markup import text
from deploykit_widgets.results_table import name_of, ordered, results_table, runtime_label
from deploykit_widgets.state import Goal, State

_FOLLOW = "the best so far"


class TradeoffPanel:
    """Goal, chart, table and the list to pick from.

    Args:
        commands: What the controls do.
    """

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        desk, state = commands.desk, commands.state
        self.max_drop = widgets.BoundedFloatText(
            value=100 * state.goal.max_drop, min=0.0, max=100.0, step=0.1, description="Lose at most",
            tooltip="Largest loss of the metric; the far end of the 95 % interval must satisfy it",
        )  # fmt: skip
        self.unit = widgets.HTML("pp")
        self.minimize = widgets.Dropdown(
            options=[(n.replace("_", " "), n) for n in tradeoff.AXES], value=state.goal.minimize,
            description="minimize", tooltip="What the best candidate has least of; also the chart's horizontal axis",
        )  # fmt: skip
        for control in (self.max_drop, self.minimize):
            control.observe(user_only(desk, self._new_goal), names="value")
        self.best = widgets.HTML()
        self.legend = widgets.HTML()
        self.chart: live_chart.LiveChart | None = None
        self._making = False
        self._place = widgets.VBox([])
        self._place.add_class("dk-chart-place")
        self.empty = widgets.HTML(markup.note("No results yet. Choose a space and run the sweep."))
        self.below = widgets.HTML()
        self.pick = widgets.Dropdown(
            options=[(_FOLLOW, "")], description="Show", tooltip="The candidate that the Candidate panel shows"
        )
        self.pick.add_class("dk-wide")
        self.pick.observe(user_only(desk, lambda: commands.pick(str(self.pick.value))), names="value")
        self.table = widgets.HTML()
        goal = widgets.HBox([self.max_drop, self.unit, self.minimize])
        goal.add_class("dk-goal")
        self.results = widgets.VBox([self.best, self.legend, self._place, self.below, self.pick, self.table])
        self.widget = widgets.VBox([goal, self.empty, self.results])
        self.widget.add_class("dk-tradeoff")
        state.observe(self.show, "report", "chosen", "best", "goal", "picked")
        self.show()

    def _new_goal(self) -> None:
        self._commands.set_goal(Goal(self.max_drop.value / 100, str(self.minimize.value)))

    def _picked(self, key: str) -> None:
        """A click in the chart; called on the kernel's thread."""
        self._commands.desk.post(lambda: self._commands.pick(key))

    def show(self) -> None:
        """Draw."""
        state = self._commands.state
        report = state.report
        points = chart_points(state)
        self.empty.layout.display = "none" if report and report.rows else ""
        self.results.layout.display = "" if report and report.rows else "none"
        self.unit.value = "% of the metric" if report and report.relative else f"pp {text(metric_name(report))}"
        if report is None:
            return
        self.best.value = best_line(state)
        self.legend.value = legend(points)
        self._show_chart(state, points)
        self.below.value = below(state, points)
        self._show_list(report)
        self.table.value = results_table(
            report, state.chosen.key if state.chosen else "", state.best.key if state.best else ""
        )

    def _show_chart(self, state: State, points: list[dict[str, Any]]) -> None:
        if self.chart is None:
            self._make_chart(state, points)
            return
        self.chart.put(chart_rows(state, points))
        x_title, y_title = _titles(state)
        self.chart.title(x_title, y_title, bars_across=state.goal.minimize == "latency")

    def _make_chart(self, state: State, points: list[dict[str, Any]]) -> None:
        """Make the chart with the first point, in the background: its libraries are slow to import."""
        if self._making or not points:
            return
        self._making = True
        x_title, y_title = _titles(state)
        rows = chart_rows(state, points)
        across = state.goal.minimize == "latency"

        def done(chart: live_chart.LiveChart) -> None:
            self.chart = chart
            chart.widget.add_class("dk-chart")
            self._place.children = [chart.widget]
            self.show()

        self._commands.desk.run(
            "chart",
            lambda: live_chart.LiveChart(x_title, y_title, rows, self._picked, bars_across=across),
            done,
            lambda error: state.problem("sweep", error),
        )

    def _show_list(self, report: Report) -> None:
        good, failed = ordered(report.rows)
        options = [(_FOLLOW, ""), *_distinct([(name_of(r), r.key) for r in good])]
        options += _distinct([(f"failed: {name_of(r)}", r.key) for r in failed])
        picked = self._commands.state.picked
        with self.pick.hold_sync():
            # Sorted by name, so that a growing list does not jump about under the pointer.
            wanted = (options[0], *sorted(options[1:]))
            if tuple(self.pick.options) != wanted:
                self.pick.options = wanted
            self.pick.value = picked if any(key == picked for _, key in wanted) else ""


def _distinct(options: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Names made distinct: two options of one name could not be told apart."""
    names = [n for n, _ in options]
    return [(f"{n} ({key})" if names.count(n) > 1 else n, key) for n, key in options]


def metric_name(report: Report | None) -> str:
    """Name of the metric in words."""
    return report.metric.replace("_", " ") if report and report.metric else "accuracy"


def unit(report: Report | None) -> str:
    """Unit of changes."""
    return "%" if report and report.relative else "pp"


def limit(state: State) -> float | None:
    """The lowest change allowed, on the chart's axis; None for metrics where less is better."""
    if state.report is None or not state.report.facts.get("higher_is_better", True):
        return None
    return -100 * state.goal.max_drop


def _titles(state: State) -> tuple[str, str]:
    metric = metric_name(state.report)
    words = "percent" if state.report and state.report.relative else "percentage points"
    higher = state.report is None or bool(state.report.facts.get("higher_is_better", True))
    down = "" if higher else " (down is better)"
    return tradeoff.AXES[state.goal.minimize][0], f"{metric[:1].upper()}{metric[1:]} change, {words}{down}"


def chart_points(state: State) -> list[dict[str, Any]]:
    """Rows of the chart, with runtimes by their labels in the tooltip."""
    if state.report is None:
        return []
    return tradeoff.points(state.report.rows, state.report.baseline, state.best.key if state.best else "")


def best_line(state: State) -> str:
    """The best so far for the goal, as HTML."""
    best = state.best
    if best is None:
        return '<div class="dk-best"><b>Best so far:</b> nothing is measured yet.</div>'
    said = "Best so far" if best.met else "Goal missed. Closest"
    shown = _speedup(best)
    return (
        f'<div class="dk-best"><div><b>{said}: {text(name_of(best.result))}</b>{text(shown)}</div>'
        f'<div class="dk-soft">{text(best.reason[:1].upper() + best.reason[1:])}</div></div>'
    )


def _speedup(choice: Choice) -> str:
    latency = choice.measurement.latency if choice.measurement else None
    return "" if latency is None or latency.claim == "baseline" else f" {numbers.times(latency.speedup)}"


def legend(points: list[dict[str, Any]]) -> str:
    """Colors of the runtimes and shapes of the families that are there, as HTML."""
    if not points:
        return ""
    runtimes = [n for n in live_chart.runtime_names() if any(p["runtime"] == n for p in points)]
    families = dict.fromkeys(str(p["family"]) for p in sorted(points, key=lambda p: str(p["family"])))
    colors = [f"<li>{markup.glyph('original', live_chart.color_of(n))}{text(runtime_label(n))}</li>" for n in runtimes]
    shapes = [f'<li><span class="dk-ink">{markup.glyph(f, -1, filled=False)}</span>{text(f)}</li>' for f in families]
    return f'<ul class="dk-legend">{"".join(colors)}<li class="dk-gap"></li>{"".join(shapes)}</ul>'


def chart_rows(state: State, points: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows of the chart's datasets."""
    shown = state.chosen.key if state.chosen else ""
    field = tradeoff.AXES[state.goal.minimize][1]
    return live_chart.layers_data(points, shown, field, limit(state), unit(state.report))


def below(state: State, points: list[dict[str, Any]]) -> str:
    """What the marks mean and what is not in the chart, as HTML."""
    rows = state.report.rows if state.report else ()
    failed = sum(r.status == "failed" for r in rows)
    parts = ["Filled: on the front or tied. Hollow: beaten. Dashed ring: noisy."]
    off = len(points) - len(chart_rows(state, points)[live_chart.POINTS])
    parts += [f"{off} off scale."] if off else []
    parts += [f"{failed} failed, at the end of the table."] if failed else []
    spoken = f'<div class="dk-unseen">{text(tradeoff.summary(points, state.best.key if state.best else ""))}</div>'
    return f'<div class="dk-note">{" ".join(parts)}</div>{spoken}'

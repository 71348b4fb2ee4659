"""Trade-off: the goal, the best so far, and the measures for the chart's axes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import SettingError, StoreError, unknown_name
from deploykit.core.registry import registry
from deploykit.reporting import numbers, speed
from deploykit.reporting.families import Families
from deploykit.reporting.report import Choice, Report
from deploykit.reporting.settings import settings
from deploykit.reporting.views import tradeoff
from deploykit_widgets.actions.commands import Commands
from deploykit_widgets.answers import Command, Later
from deploykit_widgets.rows import where
from deploykit_widgets.sections._contract import Panel
from deploykit_widgets.state import Goal

if TYPE_CHECKING:
    from deploykit import Plan

#: Costs and other measures for an axis: name → (label, title, unit, whether higher is better, word for better).
_COSTS = {
    "latency": ("latency", "Latency p50", "ms", False, "faster"),
    "size": ("size", "Size", "kB", False, "smaller"),
    "compressed_size": ("gzip size", "Size after gzip", "kB", False, "smaller"),
    "memory": ("memory", "Peak memory", "MB", False, "smaller"),
    "cpu": ("CPU time", "CPU time per inference", "ms", False, "cheaper"),
}
_TAILS = {"p90": ("p90", "Latency p90", "ms", False, "faster"), "p99": ("p99", "Latency p99", "ms", False, "faster")}
#: Length of the end of a log that is shown: the last lines say why a worker died.
_LOG_BYTES = 20_000
#: Where processes without a store write their logs. Stores may come from others, so no other file is read for them.
_LOG_FOLDER = re.compile("deploykit-logs-")


class TradeoffSection(Panel):
    """Goal, best so far, axes."""

    name = "tradeoff"
    order = 33
    fields = ("report", "plan", "goal", "best", "picked", "second")

    def __init__(self, commands: Commands) -> None:
        super().__init__(commands)
        self._chart: dict[str, Any] | None = None

    def value(self) -> Any:
        """See ``ITradeoff`` in tradeoff/section.ts."""
        state = self._commands.state
        report, goal = state.report, state.goal
        higher = report is None or bool(report.facts.get("higher_is_better", True))
        return {
            "maxDrop": goal.max_drop,
            "minimize": goal.minimize,
            "costs": [{"name": name, "label": _COSTS[name][0] if name in _COSTS else name} for name in tradeoff.AXES],
            "metric": metric_name(report, state.plan),
            "unit": unit(report),
            # Place of the limit on the axis of changes: for errors, a loss is an increase.
            "limit": round((-100 if higher else 100) * goal.max_drop, 9),
            "measures": measures(report, state.plan),
            "settings": settings_of(report),
            "families": families_of(report),
            "best": best_of(state.best, unit(report)),
        }

    def commands(self) -> Mapping[str, Command]:
        """Goal, selection, the chart's specification, a failed candidate's log."""
        return {
            "set_goal": self._set_goal,
            "pick": self._pick,
            "chart": lambda: Later("chart", self._drawn),
            "log": self._log,
        }

    def _set_goal(self, max_drop: float, minimize: str) -> None:
        if not math.isfinite(max_drop) or not 0 <= max_drop <= 1:
            raise SettingError(
                f"The largest loss must be between 0 and 100 {unit(self._commands.state.report)}, "
                f"got {100 * max_drop:g}.",
                remedy="1 is usual.",
            )
        if minimize not in tradeoff.AXES:
            raise unknown_name("cost to minimize", minimize, tradeoff.AXES)
        self._commands.set_goal(Goal(float(max_drop), minimize))

    def _pick(self, a: str = "", b: str = "") -> None:
        """Show ``a`` (empty: the best so far) beside ``b`` (empty: none)."""
        state = self._commands.state
        if b and b == (a or (state.best.key if state.best else "")):
            raise SettingError("A and B are the same candidate.", remedy="choose a different one as B.")
        self._commands.pick(a)
        self._commands.compare(b)

    def _drawn(self) -> dict[str, Any]:
        """The specification of the chart. It needs Altair, so it is made only when results are shown."""
        if self._chart is None:
            from deploykit_widgets.evidence.chart import specification

            self._chart = specification()
        return self._chart

    def _log(self, key: str) -> str:
        report = self._commands.state.report
        failure = report.row(key).failure if report else None
        if report is None or failure is None or not failure.log:
            raise StoreError("This candidate left no log.", remedy="only its cause is known.")
        path = (report.path / failure.log).resolve()
        if not (path.is_relative_to(report.path.resolve()) or _LOG_FOLDER.match(path.parent.name)):
            raise StoreError(
                f"The log {path} is not inside the store.", remedy="open it on the machine that ran the sweep."
            )
        if not path.is_file():
            raise StoreError(f"The log {path} is gone.", remedy="rerun the sweep: failed candidates are retried.")
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_BYTES))
            return file.read(_LOG_BYTES).decode("utf-8", errors="replace")


def metric_name(report: Report | None, plan: Plan | None = None) -> str:
    """Display name of the metric.

    Args:
        report: Results.
        plan: What has examined the original model: it knows the metric before the first result does.
    """
    if report is not None and report.metric not in ("", "auto"):
        return report.metric.replace("_", " ")
    examined = plan.examined if plan is not None else None
    return (examined.check.metric.replace("_", " ") if examined else "") or "accuracy"


def unit(report: Report | None) -> str:
    """Unit of changes: percentage points for shares, percent for errors."""
    return "%" if report and report.relative else "pp"


def measures(report: Report | None, plan: Any = None) -> list[dict[str, Any]]:
    """The measures an axis can show, qualities first; see ``IMeasure`` in measures.ts."""
    metric = metric_name(report, plan)
    relative = bool(report and report.relative)
    higher = report is None or bool(report.facts.get("higher_is_better", True))
    words = "percent" if relative else "percentage points"
    title = metric[:1].upper() + metric[1:]
    found = [
        _measure("change", f"{metric} change", f"{title} change, {words}", unit(report), higher, "better"),
        _measure("score", metric, title if relative else f"{title}, %", "" if relative else "%", higher, "better"),
    ]
    found += [
        _measure(f"metric:{name}", name.replace("_", " "), _title(name, share), "%" if share else "", more, "better")
        for name, share, more in _other_metrics(report)
    ]
    for name, (label, title, shown, more, better) in {**_COSTS, **_TAILS}.items():
        found.append(_measure(name, label, f"{title}, {shown}", shown, more, better))
    return found


def settings_of(report: Report | None) -> list[dict[str, Any]]:
    """The settings that distinguish candidates, as measures; values that are not numbers have labels."""
    return [
        {
            **_measure(f"setting:{s.name}", s.label, f"{s.label}, {s.unit}" if s.unit else s.label, s.unit, True, ""),
            "options": list(s.options),
            "values": list(s.values),
        }
        for s in (settings(report.rows)[0] if report else [])
    ]


def families_of(report: Report | None) -> list[dict[str, str]]:
    """The families of the candidates with their marks, in the order of the legend."""
    stored = [row.family for row in report.rows] if report else []
    return [{"name": name, "mark": mark} for name, mark in Families().listed(stored).items()]


def _measure(name: str, label: str, title: str, shown: str, higher: bool, better: str) -> dict[str, Any]:
    return {"name": name, "label": label, "title": title, "unit": shown, "higher": higher, "better": better}


def _title(metric: str, share: bool) -> str:
    words = metric.replace("_", " ")
    return words[:1].upper() + words[1:] + (", %" if share else "")


def _other_metrics(report: Report | None) -> list[tuple[str, bool, bool]]:
    """Further metrics: name, whether it is a share of one, and whether higher is better."""
    known = registry("deploykit.metrics", "metric")
    for row in report.rows if report else ():
        if row.measurement is not None:
            return [
                (s.metric, not (s.metric in known and known.get(s.metric).relative), s.higher_is_better)
                for s in row.measurement.scores[1:]
            ]
    return []


def best_of(best: Choice | None, shown_unit: str) -> dict[str, Any] | None:
    """The best so far for the goal, as text; None if nothing has been measured."""
    if best is None or best.measurement is None:
        return None
    decision, latency = best.decision, best.measurement.latency
    change = f"{numbers.points(best.measurement.score.change)} {shown_unit}"
    ties = len(decision.ties) if decision else 0
    tempting = len(decision.tempting) if decision else 0
    said = []
    if best.met:
        own = "the original model" if latency and latency.claim == "baseline" else change
        said.append(f"{own}, within your limit (95 % confidence)")
    if ties:
        said.append(f"tied with {ties} other{'s' if ties > 1 else ''}, the smallest file wins")
    if best.met and tempting:
        cheaper = {"latency": "faster"}.get(best.goal.minimize, "cheaper")
        said.append(f"{tempting} {cheaper} candidate{'s' if tempting > 1 else ''} may be outside it")
    limit = numbers.limit(best.goal.max_drop, relative=best.report.relative)
    return {
        "key": best.key,
        "name": best.result.label,
        "where": where(best.result),
        "speedup": speed.parts(best.result, best.report.home),
        "met": best.met,
        "missed": "" if best.met else f"No candidate is confirmed to stay within {limit}.",
        "change": change,
        "words": f"{'; '.join(said)}." if said else "",
        "reason": best.reason,
    }


ADAPTER = TradeoffSection

"""A sweep as a tracker takes it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploykit.choosing.goals import Decision
from deploykit.core.result import Result
from deploykit.core.serial import dump
from deploykit.exporters._export import SupportsExport, export
from deploykit.reporting.places import place
from deploykit.reporting.rows import records
from deploykit.reporting.swept import Swept, written_out
from deploykit.trackers._contract import TRACKERS, Experiment, Logged, Tracker, Trial

#: Numbers of a row that are logged under their own names; the metric's value is logged under the metric's.
_NUMBERS = (
    "change", "change_low", "change_high", "drop", "drop_low", "drop_high", "confirmed_change", "p50_ms", "p50_ms_low",
    "p50_ms_high", "p90_ms", "p99_ms", "cpu_ms", "speedup", "speedup_low", "speedup_high", "size_bytes",
    "compressed_bytes", "peak_memory_bytes", "flips", "output_error", "output_agreement",
    "robust_accuracy", "accuracy_under_pgd", "accuracy_under_square",
)  # fmt: skip
_KEY_DIGITS = 12


def log(
    report: Swept,
    tracker: str,
    where: str,
    settings: Mapping[str, Any],
    decision: Decision,
    best: SupportsExport | None,
) -> Logged:
    """Hand a sweep to a tracker; see `Report.log_to`."""
    adapter = TRACKERS.get(tracker)
    values = adapter.complete(settings)
    adapter.check_installed()
    return adapter.log(experiment(report, decision, best, adapter), where, values)


def experiment(report: Swept, decision: Decision, best: SupportsExport | None, tracker: Tracker) -> Experiment:
    """All of a sweep that has been measured or has failed.

    Args:
        report: The sweep.
        decision: Which candidate is best.
        best: The same, as it can be exported; None when none has been measured.
        tracker: Whose layout it is exported in.
    """
    flat = records(report.rows, report.baseline)
    done = [pair for pair in zip(report.rows, flat, strict=True) if pair[0].status != "pending"]
    winner = decision.winner
    chosen = winner.key if winner is not None else ""
    facts = {"model": report.model.digest, "data": report.facts["data"], "metric": report.metric}
    key = hashlib.sha256(dump({**facts, "baseline": report.baseline})).hexdigest()[:_KEY_DIGITS]
    trials = tuple(_trial(report, row, record, chosen) for row, record in done)

    def write(folder: Path) -> None:
        assert best is not None
        export(best, folder, layout=tracker.layout)

    return Experiment(
        model=report.model.name,
        sweep=Trial(
            key,
            f"sweep of {report.model.name}",
            parameters={"model": report.model.name, "format": report.model.format, "metric": report.metric},
            metrics=next((trial.metrics for trial in trials if trial.key == chosen), {}),
            tags={"model_digest": report.model.digest, "best": chosen, "reason": decision.reason},
        ),
        trials=trials,
        best=chosen,
        best_digest=winner.artifact_digest if winner is not None else "",
        metric=report.metric,
        higher_is_better=bool(report.facts["higher_is_better"]),
        export=write,
    )


def _trial(report: Swept, row: Result, record: Mapping[str, Any], chosen: str) -> Trial:
    target, recipe = row.candidate.target, row.candidate.recipe
    parameters: dict[str, Any] = {
        "recipe": row.label, "runtime": target.runtime, "device": target.device, "threads": target.threads,
        "batch_size": target.batch_size, "format": row.format,
    }  # fmt: skip
    for technique, values in written_out(recipe, row.format, report.model):
        parameters |= {f"{technique}.{name}": _plain(value) for name, value in values.items() if value is not None}
    numbers = {name: record[name] for name in _NUMBERS} | {report.metric: record["value"]}
    return Trial(
        row.key,
        f"{row.label} on {place(target)}",
        failed=row.status == "failed",
        parameters=parameters,
        metrics={name: float(v) for name, v in numbers.items() if v is not None and math.isfinite(v)},
        tags={
            "status": row.status, "family": row.family, "artifact_digest": row.artifact_digest,
            "best": str(row.key == chosen).lower(), "baseline": str(row.key == report.baseline).lower(),
            "cause": row.failure.cause if row.failure else row.stopped,
        },
    )  # fmt: skip


def _plain(value: Any) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float | str) else str(value)

"""Candidates as the browser shows them: raw numbers, and text for everything else."""

from __future__ import annotations

import math
from typing import Any

from deploykit.core.result import Footprint, Interval, Latency, Measurement, Result
from deploykit.reporting import numbers, speed
from deploykit.reporting.families import Families
from deploykit.reporting.places import place
from deploykit.reporting.report import Report
from deploykit.reporting.settings import values_of
from deploykit.reporting.views import tradeoff


class RowMaker:
    """Makes the rows of successive reports; most candidates do not change between them."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Result, str, dict[str, Any]]] = {}

    def rows_of(self, report: Report | None) -> dict[str, dict[str, Any]]:
        """Rows by key, as ``IRow`` of rows.ts has them."""
        if report is None:
            return {}
        standings = tradeoff.standings(report.rows, report.baseline)
        families = Families()
        found, made = {}, {}
        for row in report.rows:
            known = self._known.get(row.key)
            if known is None or known[0] is not row or known[1] != report.baseline:
                known = (row, report.baseline, _facts(row, report, families))
            made[row.key] = known
            state, why = _state(row, standings.get(row.key))
            found[row.key] = {**known[2], "state": state, "why": why, "compared": row.key in standings}
        self._known = made
        return found


def rows_of(report: Report | None) -> dict[str, dict[str, Any]]:
    """The rows of a report that is shown alone."""
    return RowMaker().rows_of(report)


def _facts(row: Result, report: Report, families: Families) -> dict[str, Any]:
    target, measured, failure = row.candidate.target, row.measurement, row.failure
    return {
        "key": row.key,
        "name": row.label,
        "runtime": target.runtime,
        "where": where(row),
        "device": target.device,
        "threads": target.threads,
        "batch": target.batch_size,
        "family": row.family,
        "mark": families.mark(row.family),
        "status": _status(row),
        "isBaseline": row.key == report.baseline,
        "badges": _badges(row),
        **_quality(measured),
        **_timing(measured.latency if measured else None),
        **_footprint(measured.footprint if measured else None),
        "parts": speed.parts(row, report.home),
        "size": measured.size_bytes if measured else None,
        "compressed": measured.compressed_bytes if measured else None,
        "memory": measured.peak_memory_bytes if measured else None,
        "flips": measured.changed if measured else None,
        "seconds": measured.seconds_taken if measured else None,
        "settings": values_of(row),
        "stopped": row.stopped,
        "failure": {"cause": failure.cause, "remedy": failure.remedy, "log": failure.log} if failure else None,
    }


def _quality(measured: Measurement | None) -> dict[str, Any]:
    if measured is None:
        return {"score": None, "change": None, "scores": {}, "agreement": None}
    score = measured.score
    others = {s.metric: s.value for s in measured.scores[1:]}
    return {
        "score": score.value,
        "change": _ends(score.change, 100.0),  # percentage points of a share, percent of an error
        "scores": others,
        "agreement": score.value if score.metric == "agreement" else others.get("agreement"),
    }


def _timing(latency: Latency | None) -> dict[str, Any]:
    if latency is None:
        names = ("p50", "p90", "p99", "cpu", "speedup", "sameRuntime")
        return {"launches": 0, **dict.fromkeys(names)}
    same = latency.speedup_same_runtime
    return {
        "p50": _ends(latency.p50_ms),
        "p90": latency.p90_ms,
        "p99": latency.p99_ms,
        "cpu": latency.cpu_ms,
        "speedup": _ends(latency.speedup),
        "sameRuntime": _ends(same) if same is not None else None,
        "launches": latency.launches,
    }


def _footprint(found: Footprint | None) -> dict[str, Any]:
    """Intervals over launches; ``missing`` says of each that is not measurable here why."""
    found = found or Footprint()
    missing = {"coldLoad": found.missing.get("cold_load_ms"), "energy": found.missing.get("energy_mj")}
    return {
        "load": _known(found.load_ms),
        "coldLoad": _known(found.cold_load_ms),
        "first": _known(found.first_ms),
        "throughput": _known(found.throughput),
        "tokens": _known(found.tokens_per_second),
        "energy": _known(found.energy_mj),
        "missing": {name: why for name, why in missing.items() if why},
    }


def _known(interval: Interval | None) -> list[float] | None:
    return None if interval is None else _ends(interval)


def _ends(interval: Interval, factor: float = 1.0) -> list[float]:
    """Value, low, high; JSON has no infinity, so an infinite end becomes a very large number."""
    value = interval.value * factor
    far = 1000 * max(abs(value), 1.0)
    low = interval.low * factor if math.isfinite(interval.low) else value - far
    return [value, low, interval.high * factor if math.isfinite(interval.high) else value + far]


def _status(row: Result) -> str:
    if row.status == "pending":
        return "built" if row.measurement is not None or row.artifact else "planned"
    return row.status


def _badges(row: Result) -> list[str]:
    """Badges of a row."""
    latency = row.measurement.latency if row.measurement else None
    found = [numbers.flag(name) for name in (latency.flags if latency else ())]
    found += ["same file"] if row.same_as else []
    found += ["slower"] if latency is not None and latency.claim == "slower" else []
    found += {"stopped": ["stopped"], "pending": ["still measuring"]}.get(row.status, [])
    return found


def _state(row: Result, standing: tradeoff.Standing | None) -> tuple[str, str]:
    """Whether its point is filled or hollow on the axes of change and latency, and why."""
    measured = row.measurement
    if measured is None or measured.latency is None:
        return "", row.stopped
    if row.status != "measured":
        return "screened", row.stopped or "Timed briefly so far: its interval is not final."
    if standing is None:
        return "beaten", "Timed on different hardware from the original model, so not compared with it."
    if standing.rival is not None:
        name = f"{standing.rival.label} on {where(standing.rival)}"
        also = "no worse" if standing.claim == "faster" else "no slower"
        return standing.state, f"Beaten: {name} is {standing.claim} (95 % confidence), and {also} by estimate."
    if standing.state == "front":
        return standing.state, "On the front: no other candidate is both faster and better."
    return standing.state, "Tied with the front: its intervals overlap the front."


def where(row: Result) -> str:
    """Runtime, plus device, threads and batch size if they are not the defaults."""
    return place(row.candidate.target)

"""Results as flat records: the source of every table, chart and file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploykit.choosing.goals import Goal
from deploykit.choosing.pareto import competing, devices_of, front
from deploykit.core.check import BaselineCheck
from deploykit.core.contract import Contract
from deploykit.core.result import GROUPS, Footprint, Interval, Judged, Latency, Measurement, Result, Score
from deploykit.reporting import speed
from deploykit.reporting.effects import packed_bytes
from deploykit.reporting.places import place
from deploykit.reporting.verdict import samples_needed
from deploykit.storage.rows import Rows


def records(rows: Sequence[Result], baseline: str, price_per_hour: float | None = None) -> list[dict[str, Any]]:
    """One flat record for each row, with the same keys; unknown values are None.

    Units are in the names; ``change`` is a difference for accuracies and a ratio minus one for errors.

    Args:
        rows: The rows.
        baseline: Key of the original model's.
        price_per_hour: Of the machine, for ``cost_per_million``; None: it is not known.
    """
    on_front = {r.key for r in front(competing(rows, baseline))}
    return [{**_record(row, baseline, on_front), **_footprint(row, price_per_hour)} for row in rows]


def elsewhere(rows: Sequence[Result], baseline: str) -> list[str]:
    """Sentences about candidates that are not compared because other hardware has timed them."""
    rivals = {r.key for r in competing(rows, baseline)}
    others: dict[str, list[str]] = {}
    for row in rows:
        if row.key not in rivals and row.measurement is not None:
            facts = row.measurement.environment
            name = f"{facts['cpu']}, {facts['cores']} cores (host {facts.get('host', 'unknown')})"
            others.setdefault(name, []).append(f"{row.label} on {place(row.candidate.target)}")
    return [
        f"Timed on different hardware from the original model, so not compared with it: {'; '.join(names)} on {place}."
        for place, names in others.items()
    ]


def apart(rows: Sequence[Result], baseline: str) -> list[str]:
    """A sentence about each device besides the baseline's: it has a front and a best candidate of its own."""
    return [
        f"{len(measured)} candidate{'s' if len(measured) != 1 else ''} on {device}: compared with each other only, see "
        f"best(device={device!r}) and pareto(device={device!r})."
        for device in devices_of(rows, baseline)[1:]
        if (measured := [r for r in rows if r.status == "measured" and r.candidate.target.device == device])
    ]


def left_to_others(rows: Sequence[Result]) -> list[str]:
    """Sentences about candidates of which a device ran a part, or chose another device."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row.measurement is not None and row.measurement.placed:
            found.setdefault(row.measurement.placed, []).append(f"{row.label} on {place(row.candidate.target)}")
    return [f"{'; '.join(names)}: {words}." for words, names in found.items()]


def ruined(rows: Sequence[Result], baseline: str) -> list[str]:
    """Sentences about candidates that are not chosen because they ruin an output that is not scored."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row.key != baseline and row.measurement is not None and (why := row.measurement.ruined()):
            found.setdefault(why, []).append(f"{row.label} on {place(row.candidate.target)}")
    return [f"Not chosen: {'; '.join(names)}: {why}." for why, names in found.items()]


def too_few(rows: Sequence[Result], goal: Goal) -> list[str]:
    """How many examples would be enough, where candidates look good enough and too few examples confirm it."""
    needed: list[int] = []
    have = ""
    for row in rows:
        if row.status == "measured" and row.measurement is not None:
            score = row.measurement.score
            count, what = score.counted
            if more := samples_needed(score.drop, count, goal.max_drop):
                needed.append(more)
                have = f"{count:,} {what}" if score.groups else f"{count:,} evaluation examples"
    if not needed:
        return []
    close, shown = len(needed), f"{max(needed):,}"
    which = "1 candidate looks" if close == 1 else f"{close} candidates look"
    return [f"{which} good enough, but {have} are too few to confirm the limit; about {shown} would be enough."]


def by_group(rows: Sequence[Result]) -> list[str]:
    """What intervals of quality count, where it is not examples."""
    found = [r.measurement.score for r in rows if r.measurement is not None and r.measurement.score.groups]
    if not found:
        return []
    score = max(found, key=lambda s: s.groups)
    return [
        f"Frames of a video resemble each other: intervals of quality are resampled by video, "
        f"{score.groups:,} {GROUPS} and not {score.examples:,} frames."
    ]


def doubts(contract: Contract, check: BaselineCheck) -> list[str]:
    """What looks odd about data and model as they were read: kept though it was ignored."""
    found = [*contract.labels.notes, *contract.notes, *check.warnings]
    return [*found, *(f"{s.text} To read it so: {s.remedy}." for s in check.suspicions)]


def damaged(rows: Rows, store: Path) -> list[str]:
    """A sentence about the rows that are left out because they cannot be read back."""
    keys = rows.damaged
    if not keys:
        return []
    shown = ", ".join(f"row {key}" for key in keys[:5]) + (", …" if len(keys) > 5 else "")
    one = len(keys) == 1
    which = f"One row of the store {store} is damaged and was" if one else f"{len(keys)} rows of the store {store} are"
    which += "" if one else " damaged and were"
    return [
        f"{which} left out: {shown}. Remedy: deploykit clean {store} --repair drops {'it' if one else 'them'}, and the "
        f"next sweep makes {'it' if one else 'them'} again."
    ]


def _record(row: Result, baseline: str, on_front: set[str]) -> dict[str, Any]:
    measurement, target = row.measurement, row.candidate.target
    latency = measurement.latency if measurement else None
    failure = row.failure
    return {
        "key": row.key,
        "status": row.status,
        "candidate": row.label,
        "family": row.family,
        "runtime": target.runtime,
        "device": target.device,
        "threads": target.threads,
        "batch_size": target.batch_size,
        "format": row.format,
        "is_baseline": row.key == baseline,
        "on_front": row.key in on_front,
        **_score(measurement.score if measurement else None),
        "confirmed_change": measurement.confirmation.change.value if measurement and measurement.confirmation else None,
        **_latency(latency),
        "size_bytes": measurement.size_bytes if measurement else None,
        "compressed_bytes": measurement.compressed_bytes if measurement else None,
        "packed_bytes": packed_bytes(row),
        "peak_memory_bytes": measurement.peak_memory_bytes if measurement else None,
        "flips": measurement.changed if measurement else None,
        "output_error": _worst(measurement.others, "error") if measurement else None,
        "output_agreement": _least(measurement.others, "agreement") if measurement else None,
        **_under_attack(measurement),
        "batch_dependent": measurement.batch_dependent if measurement else None,
        "seconds": measurement.seconds_taken if measurement else None,
        "same_as": row.same_as,
        "stopped": row.stopped,
        "cause": failure.cause if failure else "",
        "remedy": failure.remedy if failure else "",
        "log": failure.log if failure else "",
    }


def _under_attack(measurement: Measurement | None) -> dict[str, Any]:
    """Accuracies on inputs that were changed on purpose; None where none were."""
    names = ("robust_accuracy", "accuracy_under_pgd", "accuracy_under_square")
    found = {name: measurement.scored(name) if measurement else None for name in names}
    robust = found["robust_accuracy"]
    values = {name: score.value if score else None for name, score in found.items()}
    return {**values, **_interval("robust_change", robust.change if robust else None)}


def _worst(others: Mapping[str, Judged], name: str) -> float | None:
    return max((v for j in others.values() if (v := getattr(j, name)) is not None), default=None)


def _least(others: Mapping[str, Judged], name: str) -> float | None:
    return min((v for j in others.values() if (v := getattr(j, name)) is not None), default=None)


def _score(score: Score | None) -> dict[str, Any]:
    return {
        "metric": score.metric if score else None,
        "value": score.value if score else None,
        **_interval("change", score.change if score else None),
        **_interval("drop", score.drop if score else None),
    }


def _latency(latency: Latency | None) -> dict[str, Any]:
    return {
        **_interval("p50_ms", latency.p50_ms if latency else None),
        "p90_ms": latency.p90_ms if latency else None,
        "p99_ms": latency.p99_ms if latency else None,
        "cpu_ms": latency.cpu_ms if latency else None,
        **_interval("speedup", latency.speedup if latency else None),
        **_interval("speedup_same_runtime", latency.speedup_same_runtime if latency else None),
        "claim": latency.claim if latency else None,
        "technique_claim": speed.claim(latency) if latency else None,
        "flags": ", ".join(latency.flags) if latency else "",
        "launches": latency.launches if latency else None,
        "involuntary_switches": latency.involuntary_switches if latency else None,
        "steal": latency.steal if latency else None,
    }


def _footprint(row: Result, price: float | None) -> dict[str, Any]:
    found = (row.measurement.footprint if row.measurement else None) or Footprint()
    return {
        **_interval("load_ms", found.load_ms),
        **_interval("cold_load_ms", found.cold_load_ms),
        **_interval("first_ms", found.first_ms),
        **_interval("throughput", found.throughput),
        **_interval("tokens_per_second", found.tokens_per_second),
        **_interval("memory_bytes", found.memory_bytes),
        **_interval("energy_mj", found.energy_mj),
        "energy_from": found.energy_from,
        **_interval("cost_per_million", found.cost_per_million(price or 0.0)),
        "not_measurable": "; ".join(f"{name}: {why}" for name, why in found.missing.items()),
    }


def _interval(name: str, interval: Interval | None) -> dict[str, float | None]:
    return {
        name: interval.value if interval else None,
        f"{name}_low": interval.low if interval else None,
        f"{name}_high": interval.high if interval else None,
    }

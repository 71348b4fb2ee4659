"""What the workers' meters have counted, by version of a model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from deploykit.monitoring.operation.performance import Counts
from deploykit.serving.meter import Series

#: Statuses of the client's fault; others but success are the server's, or say that it has too much to do.
_CLIENT = frozenset({"INVALID_ARGUMENT", "NOT_FOUND", "UNAUTHENTICATED", "PERMISSION_DENIED", "CANCELLED",
                     "UNIMPLEMENTED", "FAILED_PRECONDITION", "OUT_OF_RANGE", "ALREADY_EXISTS"})  # fmt: skip
_TOO_MANY = "429"


def outcome(status: str) -> str:
    """``"answered"``, ``"refused"`` (the client's fault) or ``"failed"``, for a status in its protocol's words."""
    if status == "OK" or status[:1] in ("2", "3"):
        return "answered"
    if status in _CLIENT or (status[:1] == "4" and status != _TOO_MANY):
        return "refused"
    return "failed"


def counts(found: Iterable[Series]) -> dict[tuple[str, str], Counts]:
    """Series of several workers, added up by model and version, over all protocols."""
    totals: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    stages: dict[tuple[str, str], dict[str, list[int]]] = defaultdict(dict)
    batches: dict[tuple[str, str], list[int]] = {}
    for series in found:
        key = (series.labels[0], series.labels[1]) if len(series.labels) > 1 else ("", "")
        if series.kind == "requests":
            totals[key][outcome(series.labels[3])] += series.total
        elif series.kind == "seconds":
            _add(stages[key], series.labels[3] or "total", series.buckets)
        elif series.kind == "examples":
            totals[key]["examples"] += series.total
            before = batches.get(key)
            batches[key] = list(series.buckets) if before is None else _sum(before, series.buckets)
    return {
        key: Counts(
            totals[key]["answered"], totals[key]["failed"], totals[key]["refused"],
            {stage: tuple(buckets) for stage, buckets in stages[key].items()},
            tuple(batches.get(key, ())), totals[key]["examples"],
        )
        for key in {*totals, *stages, *batches}
    }  # fmt: skip


def _add(sums: dict[str, list[int]], stage: str, buckets: Iterable[int]) -> None:
    before = sums.get(stage)
    sums[stage] = list(buckets) if before is None else _sum(before, buckets)


def _sum(a: Iterable[int], b: Iterable[int]) -> list[int]:
    return [x + y for x, y in zip(a, b, strict=True)]

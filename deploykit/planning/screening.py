"""Which candidates the screen of a sweep will drop: by what was measured so far, or by earlier candidates like them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from deploykit.core.candidate import Candidate, Target
from deploykit.core.result import Result

#: By how much another candidate must be faster to end the launches of one after the screen.
MARGIN = 0.1


@dataclass(frozen=True)
class Standing:
    """Where a candidate stands, by estimate.

    Attributes:
        device: Only candidates on the same device are rivals.
        drop: Loss of the metric.
        low: Lower end of its interval.
        time: Latency as a share of the baseline's, None while it is not known.
    """

    device: str
    drop: float
    low: float = -math.inf
    time: float | None = None


def standings(rows: Iterable[Result]) -> dict[str, Standing]:
    """Standings of the candidates that were evaluated, by key."""
    found = {}
    for row in rows:
        measured = row.measurement
        if measured is not None and row.status != "failed":
            time = None if measured.latency is None else 1 / measured.latency.speedup.value
            drop = measured.score.drop
            found[row.key] = Standing(row.candidate.target.device, drop.value, drop.low, time)
    return found


def likely(rows: Iterable[Result], candidates: Mapping[str, Candidate]) -> dict[str, Standing]:
    """Standings of candidates if they are like earlier ones with the same techniques on the same target.

    Args:
        rows: Candidates of this sweep and of earlier ones.
        candidates: Key → candidate; what has no like is left out.
    """
    known: dict[tuple[Target, tuple[str, ...]], list[tuple[float, float]]] = {}
    for row in rows:
        measured = row.measurement
        if measured is not None and measured.latency is not None and row.status != "failed":
            of = known.setdefault(_kind(row.candidate), [])
            of.append((measured.score.drop.value, 1 / measured.latency.speedup.value))
    found = {}
    for key, candidate in candidates.items():
        if like := known.get(_kind(candidate)):
            drops, times = zip(*like, strict=True)  # what may be as good as the best of them gets its chance
            found[key] = Standing(candidate.target.device, min(drops), time=statistics.median(times))
    return found


def foreseen(rows: Sequence[Result], candidates: Mapping[str, Candidate], max_drop: float | None) -> set[str] | None:
    """Keys of the candidates that the screen will keep if they are like earlier ones; None when none is like one.

    Args:
        rows: Candidates of this sweep and of earlier ones.
        candidates: Key → candidate.
        max_drop: Loss above which no candidate is wanted; None: there is no limit.
    """
    alike = likely(rows, candidates)
    return candidates.keys() - losing(standings(rows) | alike, max_drop) if alike else None


def _kind(candidate: Candidate) -> tuple[Target, tuple[str, ...]]:
    return candidate.target, tuple(step.technique for step in candidate.recipe.steps)


def launched(usual: float, asked: int, screen: int, kept: float) -> float:
    """Launches that are made, as a share of those asked for of all.

    How good candidates are is a guess, and so is how noisy the host will be: the mean of both.

    Args:
        usual: What it was in earlier sweeps.
        asked: Launches of those that are kept.
        screen: Launches of all.
        kept: Share of the sessions of a launch that is left after the screen.
    """
    return (usual + (screen + (asked - screen) * min(1.0, kept)) / asked) / 2


def losing(known: Mapping[str, Standing], max_drop: float | None = None) -> set[str]:
    """Keys of the candidates that the screen will drop, if estimates stay as they are.

    Another one on the same device is faster by the margin while it loses no more, or the candidate is confirmed to lose
    more than the limit.

    Args:
        known: Key → standing.
        max_drop: The limit; None: there is none.
    """
    found = set()
    fastest = sorted(((s.time, s) for s in known.values() if s.time is not None), key=lambda pair: pair[0])
    for key, own in known.items():
        beaten = own.time is not None and any(
            time * (1 + MARGIN) < own.time and rival.device == own.device and rival.drop <= own.drop
            for time, rival in fastest  # of thousands, the first ones decide
        )
        if beaten or (max_drop is not None and own.low > max_drop):
            found.add(key)
    return found

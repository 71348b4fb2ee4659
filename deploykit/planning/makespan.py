"""How long jobs take that wait for each other and share some slots: played through, as a sweep would run them."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PlannedTask:
    """A piece of work.

    Attributes:
        seconds: How long it takes, or the rest of it where it runs already.
        after: Jobs that must be done first; names that are not among the jobs are done.
        running: Whether it has begun.
    """

    seconds: float
    after: tuple[str, ...] = ()
    running: bool = False


def makespan(jobs: Mapping[str, PlannedTask], slots: int) -> float:
    """Wall-clock seconds of all jobs on so many slots, each started as soon as it can be, in the order given.

    Example:
        >>> makespan({"a": PlannedTask(2.0), "b": PlannedTask(1.0), "c": PlannedTask(1.0, after=("b",))}, slots=2)
        2.0
    """
    ordered = sorted(jobs, key=lambda key: not jobs[key].running)  # what runs has its slot already
    waiting = {key: {a for a in jobs[key].after if a in jobs} for key in ordered}
    followers: dict[str, list[str]] = {}
    for key, after in waiting.items():
        for other in after:
            followers.setdefault(other, []).append(key)
    places = {key: place for place, key in enumerate(ordered)}
    ready = [places[key] for key, after in waiting.items() if not after]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < max(1, slots):
            place = heapq.heappop(ready)
            heapq.heappush(running, (now + jobs[ordered[place]].seconds, place))
        now, place = heapq.heappop(running)
        for key in followers.get(ordered[place], []):
            waiting[key].discard(ordered[place])
            if not waiting[key]:
                heapq.heappush(ready, places[key])
    return now

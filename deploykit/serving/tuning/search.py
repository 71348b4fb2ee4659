"""Which points are measured: a climb along the axes of the grid, in a fraction of its measurements.

More connections give a higher rate and longer times, so that settings are judged by the most connections whose p99
holds; where already their rate is lower than the best one so far, fewer connections are not tried. The first to be
tried are one step more than have held so far. From the best settings so far, the search goes along one axis as long as
it gets better, then along the next one; workers and threads share the cores, so that one is also raised while the other
is lowered. When nothing around is better, it starts again from what is most unlike, as far as the budget goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from deploykit.core.settings.serving import ServingSettings
from deploykit.serving.tuning.grid import TuningGrid, TuningPoint

#: Share of the grid that is measured, and how many points of a small one.
SHARE, FEWEST = 0.2, 6
#: A rate that is this much higher is better; less may be noise.
_BETTER = 0.01
#: A rate this far below the best one is not reached with fewer connections.
_HOPELESS = 0.03
#: A p99 that does not hold is closer to it when it is this much lower.
_CLOSER = 0.05
_Place = tuple[int, ...]


@dataclass(frozen=True)
class Seen:
    """What a short measurement of a point found.

    Attributes:
        rate: Requests per second.
        p99_ms: 99th percentile of their times.
    """

    rate: float
    p99_ms: float


#: Measures a point; None when the server failed.
Measure = Callable[[TuningPoint], Seen | None]


def budget_of(grid: TuningGrid, share: float = SHARE) -> int:
    """How many points may be measured."""
    return min(grid.size, max(FEWEST, int(grid.size * share)))


def search(
    grid: TuningGrid, limit_ms: float, measure: Measure, budget: int, start: TuningPoint
) -> dict[TuningPoint, Seen | None]:
    """Measure the points that matter.

    Args:
        grid: What there is.
        limit_ms: The p99 that must hold.
        measure: Called once for each point at most.
        budget: Most points to measure; all of them if it is the whole grid.
        start: Where to start.

    Returns:
        What was seen, in the order of measuring.
    """
    climb = _Climb(grid, limit_ms, measure, budget)
    try:
        if budget >= grid.size:
            for point in grid.points():
                climb.look(point)
        else:
            climb.run(start)
    except _SpentError:
        pass
    return climb.seen


def order(seen: Mapping[TuningPoint, Seen | None], limit_ms: float) -> list[TuningPoint]:
    """Points that were measured, best first: the highest rate whose p99 holds, then the lowest p99."""

    def key(point: TuningPoint) -> tuple[bool, float]:
        found = seen[point]
        assert found is not None
        holds = found.p99_ms <= limit_ms
        return not holds, -found.rate if holds else found.p99_ms

    return sorted((point for point, found in seen.items() if found is not None), key=key)


class _SpentError(Exception):
    """The budget is spent."""


@dataclass(frozen=True)
class _Score:
    """How good settings are.

    Attributes:
        rate: The rate at the most connections whose p99 holds; 0 when it holds at none.
        missed_ms: The lowest p99 that does not hold, 0 when it holds at all numbers of connections.
    """

    rate: float
    missed_ms: float

    def beats(self, other: _Score) -> bool:
        """Whether it is better: a higher rate, or about the same one and closer to holding with more connections."""
        if self.rate > other.rate * (1 + _BETTER):
            return True
        return self.rate >= other.rate * (1 - _BETTER) and self.missed_ms < other.missed_ms * (1 - _CLOSER)


class _Climb:
    def __init__(self, grid: TuningGrid, limit_ms: float, measure: Measure, budget: int) -> None:
        self._grid, self._limit, self._measure, self._budget = grid, limit_ms, measure, budget
        self.seen: dict[TuningPoint, Seen | None] = {}
        self._axes = (grid.sources, grid.workers, grid.threads, grid.largest_batch, grid.readers)
        self._scores: dict[_Place, _Score] = {}
        #: Place of the most connections at which any settings hold, -1 while none do.
        self._most_held = -1

    def look(self, point: TuningPoint) -> Seen | None:
        """What is seen at a point, measured when it is new."""
        point = self._grid.same(point)
        if point not in self.seen:
            if len(self.seen) >= self._budget:
                raise _SpentError
            self.seen[point] = self._measure(point)
        return self.seen[point]

    def run(self, start: TuningPoint) -> None:
        """Climb from the start, then from elsewhere, until the budget is spent or nothing is left."""
        self._climb(self._place(start))
        for place in self._elsewhere():
            self._climb(place)

    def _climb(self, place: _Place) -> None:
        been: set[_Place] = set()
        while place not in been:
            been.add(place)
            for direction in self._directions():
                place = self._along(place, direction)
        self._fewer_connections(place)

    def _along(self, place: _Place, direction: _Place) -> _Place:
        """As far along a direction as it gets better."""
        while (after := self._step(place, direction)) is not None and self._score(after).beats(self._score(place)):
            place = after
        return place

    def _score(self, place: _Place) -> _Score:
        if place not in self._scores:
            self._scores[place] = self._judge(place)
        return self._scores[place]

    def _judge(self, place: _Place) -> _Score:
        """From one step above the most connections that hold so far: up while p99 holds, or down until it does."""
        best = max((score.rate for score in self._scores.values()), default=0.0)
        loads = self._grid.concurrency
        at = min(self._most_held + 1, len(loads) - 1) if self._scores else len(loads) - 1
        rate, missed = 0.0, 0.0
        up = down = True
        while 0 <= at < len(loads):
            found = self.look(self._point(place, loads[at]))
            if found is None:
                return _Score(0.0, float("inf"))
            if found.p99_ms <= self._limit:
                self._most_held = max(self._most_held, at)
                rate, down = found.rate, False
                if not up:
                    break
                at += 1
            else:
                missed, up = found.p99_ms, False
                if not down or found.rate < best * (1 - _HOPELESS):
                    break
                at -= 1
        return _Score(rate, missed)

    def _fewer_connections(self, place: _Place) -> None:
        """Look whether fewer connections give more after all, as where they get into each other's way."""
        seen = [c for c in self._grid.concurrency if self._grid.same(self._point(place, c)) in self.seen]
        if self._score(place).rate and (fewer := [c for c in self._grid.concurrency if c < min(seen)]):
            self.look(self._point(place, fewer[-1]))

    def _directions(self) -> Iterator[_Place]:
        for other in range(1, len(self._grid.sources)):
            yield (other, 0, 0, 0, 0)
        yield from ((0, 1, 0, 0, 0), (0, 0, 1, 0, 0), (0, 0, 0, 1, 0), (0, 0, 0, 0, 1))
        yield from ((0, -1, 0, 0, 0), (0, 0, -1, 0, 0), (0, 0, 0, -1, 0), (0, 0, 0, 0, -1))
        yield from ((0, 1, -1, 0, 0), (0, -1, 1, 0, 0))

    def _step(self, place: _Place, direction: _Place) -> _Place | None:
        moved = [at + by for at, by in zip(place, direction, strict=True)]
        moved[0] %= len(self._grid.sources)  # they have no order
        inside = all(0 <= at < len(axis) for at, axis in zip(moved, self._axes, strict=True))
        return tuple(moved) if inside else None

    def _elsewhere(self) -> Iterator[_Place]:
        """Places to start again, by what was found: the other sources, then the corners where cores are shared out."""
        last = [len(axis) - 1 for axis in self._axes]
        best = max(self._scores, key=lambda place: (self._scores[place].rate, -self._scores[place].missed_ms))
        for source in range(len(self._grid.sources)):
            if source != best[0]:
                yield (source, *best[1:])
        for source in (best[0], *(s for s in range(len(self._grid.sources)) if s != best[0])):
            for largest in (0, last[3]):
                yield (source, last[1], 0, largest, best[4])
                yield (source, 0, last[2], largest, best[4])

    def _place(self, point: TuningPoint) -> _Place:
        """Where a point is; values that the grid does not have are at the beginning of their axis."""
        settings = point.settings
        values = point.source, settings.workers, settings.threads, settings.largest_batch, settings.readers
        return tuple(axis.index(value) if value in axis else 0 for axis, value in zip(self._axes, values, strict=True))

    def _point(self, place: _Place, concurrency: int) -> TuningPoint:
        source, workers, threads, largest, readers = place
        grid = self._grid
        settings = ServingSettings(
            grid.workers[workers], grid.threads[threads], grid.largest_batch[largest], grid.readers[readers]
        )
        return TuningPoint(grid.sources[source], settings, concurrency)

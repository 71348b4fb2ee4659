"""The order of the work: search, measure the best few in turns, then the curve of the choice."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

from deploykit.core.errors import DeploykitError
from deploykit.core.settings.serving import ServingSettings
from deploykit.reporting.events import OnProgress, Progress
from deploykit.reporting.places import runtime_label
from deploykit.serving.tuning.grid import TuningGrid, TuningPoint
from deploykit.serving.tuning.measuring import Bench, spare_bytes
from deploykit.serving.tuning.notes import Notes
from deploykit.serving.tuning.rows import choose, rate_of
from deploykit.serving.tuning.search import FEWEST, Seen, budget_of, order, search

#: Rounds at a point while searching.
SEARCH_ROUNDS = 2
#: Points that are measured again before the choice, beside the settings without tuning.
_FINALISTS = 3
#: A p99 this far below the limit is likely to be confirmed.
_SAFE = 0.8
#: Share of the work before which its end is not estimated.
_EARLY = 0.05


class Work:
    """Measures what matters of a grid.

    Args:
        bench: Measures points.
        grid: All points.
        notes: Where it goes.
        p99_ms: The limit.
        rounds: Rounds of each point that can become the choice.
        share: Share of the grid that is measured.
        baseline: The settings without tuning.
        progress: Called whenever the state changes.
    """

    def __init__(
        self, bench: Bench, grid: TuningGrid, notes: Notes, p99_ms: float, rounds: int, share: float,
        baseline: ServingSettings, progress: OnProgress,
    ) -> None:  # fmt: skip
        self._bench, self._grid, self._notes = bench, grid, notes
        self._limit, self._rounds, self._baseline = p99_ms, rounds, baseline
        self._allowed = int(share * grid.size * rounds)
        self._whole = budget_of(grid, share) >= grid.size
        self._later = (_FINALISTS + 2 + len(grid.concurrency) - 1) * rounds
        self._budget = grid.size if self._whole else self._affordable(share)
        self._progress = progress
        self._done = self._failed = 0
        self._total = self._budget * self._each + self._later
        self._began = time.monotonic()

    @property
    def _each(self) -> int:
        """Rounds of a point in the search; there is nothing to choose from when all is measured thoroughly."""
        return self._rounds if self._whole else min(SEARCH_ROUNDS, self._rounds)

    def _affordable(self, share: float) -> int:
        """Points of the search: a share of the grid, and no more than leaves that share of all rounds for the rest."""
        left = self._allowed - self._later
        return min(budget_of(self._grid, share), max(FEWEST, left // self._each))

    def run(self) -> bool:
        """Do it; gives whether it ran to its end. Ctrl-C stops it, and what is measured stays."""
        try:
            start = TuningPoint(self._grid.sources[0], self._baseline, self._grid.concurrency[-1])
            seen = search(self._grid, self._limit, self._look, self._budget, start)
            if ranked := order(seen, self._limit):
                self._in_turns(self._finalists(ranked))
                self._in_turns(self._challengers(ranked))
                self._in_turns(self._curve())
        except KeyboardInterrupt:
            self._say("cancelled", "stopped; what is measured is kept")
            return False
        self._say("done", f"{self._notes.rounds} rounds, {len(seen)} of {self._grid.size} points")
        return True

    def _look(self, point: TuningPoint) -> Seen | None:
        """Some rounds at a point; None when it fails, which is noted."""
        if not self._notes.recall(point):
            self._say("latency", _named(point))
            try:
                self._bench.keep([point])
                self._notes.measured(point, *self._bench.measure(point, self._each))
            except DeploykitError as error:
                self._fail(point, error)
                return None
        self._done += self._each
        return Seen(self._notes.rate(point), self._notes.p99_ms(point))

    def _in_turns(self, points: Sequence[TuningPoint]) -> None:
        """Measure points again in turns: whatever the machine does meanwhile hits them all."""
        left = list(points)
        self._bench.keep(left)
        together = sum({(p.source, p.settings): self._notes.memory_bytes(p) for p in left}.values()) < spare_bytes()
        for number in range(self._rounds):
            shift = number % max(1, len(left))
            for point in left[shift:] + left[:shift]:
                self._say("latency", f"{_named(point)}, round {number + 1} of {self._rounds}")
                try:
                    if not together:  # each server is started again for its round
                        self._bench.keep([point])
                    self._notes.again(point, self._bench.once(point, self._notes.rate(point)))
                except DeploykitError as error:
                    self._fail(point, error)
                    left.remove(point)
                self._done += 1

    def _finalists(self, ranked: Sequence[TuningPoint]) -> list[TuningPoint]:
        """The best few, one whose p99 is likely to be confirmed, and the best that the usual settings give."""
        found = list(ranked[:_FINALISTS])
        found += [p for p in ranked if self._notes.p99_ms(p) <= _SAFE * self._limit][:1]
        found += [p for p in ranked if self._is_usual(p)][:1]
        return list(dict.fromkeys(found))

    def _challengers(self, ranked: Sequence[TuningPoint]) -> list[TuningPoint]:
        """What looked better in the search than the choice does now, beside the choice; as far as the budget goes."""
        rows = self._notes.rows()
        best = choose(rows, self._limit)
        confirmed = {TuningPoint(row.runtime, row.settings, row.concurrency) for row in rows if row.confirmed}
        spare = self._allowed - self._notes.rounds - (len(self._grid.concurrency) - 1) * self._rounds
        better = [
            point
            for point in ranked
            if point not in confirmed
            and self._notes.p99_ms(point) <= self._limit
            and (not best.holds(self._limit) or self._notes.rate(point) > rate_of(best))
        ][: max(0, spare // self._rounds - 1)]
        return [TuningPoint(best.runtime, best.settings, best.concurrency), *better] if better else []

    def _curve(self) -> list[TuningPoint]:
        """The other loads of the choice and, as far as the budget goes, of the usual settings."""
        rows = self._notes.rows()
        best = choose(rows, self._limit)
        done = {TuningPoint(row.runtime, row.settings, row.concurrency) for row in rows if row.confirmed}

        def others(source: str, settings: ServingSettings) -> list[TuningPoint]:
            points = [self._grid.same(TuningPoint(source, settings, load)) for load in self._grid.concurrency]
            return [point for point in points if point not in done]

        found = others(best.runtime, best.settings)
        spare = (self._allowed - self._notes.rounds) // self._rounds - len(found)
        usual = [p for p in others(self._grid.sources[0], self._baseline) if p not in found]
        return found + usual[: max(0, spare)]

    def _is_usual(self, point: TuningPoint) -> bool:
        same = self._grid.same_settings(self._baseline, point.concurrency)
        return point.source == self._grid.sources[0] and point.settings == same

    def _fail(self, point: TuningPoint, error: DeploykitError) -> None:
        self._notes.failed(point, error)
        self._bench.drop(point)
        self._failed += 1

    def _say(self, phase: Literal["latency", "done", "cancelled"], doing: str) -> None:
        share = 1.0 if phase == "done" else min(self._done / self._total, 1.0)
        spent = time.monotonic() - self._began
        left = spent * (1 - share) / share if phase == "latency" and share > _EARLY else None
        self._progress(
            Progress(phase, doing, self._done, self._total, failed=self._failed, seconds_left=left, share=share)
        )


def _named(point: TuningPoint) -> str:
    connections = f"{point.concurrency} connection{'' if point.concurrency == 1 else 's'}"
    return f"{runtime_label(point.source)}, {point.settings}, {connections}"

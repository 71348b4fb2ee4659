"""How long the rest of the latency stage takes, before it begins and while it runs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Sequence

from deploykit.core.candidate import Target
from deploykit.measuring.latency import Launch
from deploykit.measuring.ratios import BASELINE, launches_needed
from deploykit.planning.durations import Durations

#: Share of a launch that is still expected when it takes longer than it should.
_OVERDUE = 0.1


class Forecast:
    """The launches that are left.

    Args:
        durations: How long sessions take here.
        asked: Launches of every session that the protocol wants.
        screen: Launches after which those that cannot win get no more; 0 when all get all.
        most: Launches on a host that stays noisy.
        budget_s: Seconds after which no launches are added.
        targets: Sessions of a launch of all candidates, over all groups.
        ratio: Launches made for each one asked for, as earlier sweeps have had it.
    """

    def __init__(
        self, durations: Durations, asked: int, screen: int, most: int, budget_s: float, targets: Sequence[Target],
        ratio: float,
    ) -> None:  # fmt: skip
        self._durations = durations
        self._asked = asked
        self._screen = screen
        self._most = most
        self._budget_s = budget_s
        self._all = list(targets)
        self._ratio = ratio
        self._paces: list[float] = []
        self._spent = 0.0
        #: Launches that it takes in all, after the first.
        self._needed: int | None = None
        self._running: tuple[float, list[Target]] | None = None
        #: Sessions and launches left of each group; one value, for it is read while another thread works.
        self._work: list[tuple[list[Target], float]] | None = None
        self._kept: list[Target] | None = None

    def screening(self, groups: Sequence[Sequence[Target]], done: Sequence[int]) -> None:
        """What the screen is to do.

        Args:
            groups: Sessions of each group.
            done: Launches that each group has from an earlier sweep.
        """
        self._work = [(list(group), max(0.0, self._screen - count)) for group, count in zip(groups, done, strict=True)]

    def keeping(self, targets: Iterable[Target]) -> None:
        """Sessions of a launch of those that will be kept after the screen, as it looks now."""
        self._kept = list(targets)

    def finishing(self, groups: Sequence[Sequence[Target]], left: Sequence[int]) -> None:
        """What is to do after the screen: sessions and launches of each group."""
        self._screen = 0
        self._work = [(list(group), float(count)) for group, count in zip(groups, left, strict=True)]

    def begin(self, targets: Iterable[Target]) -> None:
        """A launch of these sessions has begun."""
        self._running = time.monotonic(), list(targets)

    def end(self, group: int, launches: Sequence[Launch]) -> None:
        """A launch of a group is done.

        Args:
            group: Its place.
            launches: All launches of its candidates, those in other groups included.
        """
        if self._running is not None:
            began, targets = self._running
            took, work = time.monotonic() - began, self._durations.sessions(targets)
            self._spent += took
            if work > 0:
                self._paces.append(took / work)
        self._running = None
        self._needed = needed = self._affordable(launches)
        assert self._work is not None
        sessions, left = self._work[group]
        self._work[group] = sessions, float(max(0, left - 1 if self._screen else needed - len(launches)))

    def _affordable(self, launches: Sequence[Launch]) -> int:
        """Launches that it takes in all: on a noisy host more than were asked for, as far as the budget reaches."""
        mean = statistics.fmean([launch.seconds for launch in launches])
        most = min(self._most, int(self._budget_s / max(mean, 1e-9)))
        return launches_needed(launches, self._asked, max(self._asked, most))

    def seconds(self) -> float:
        """Seconds that are left; may be called while another thread works."""
        work, running, kept = self._work, self._running, self._kept
        pace = statistics.median(self._paces[-5:]) if self._paces else 1.0
        one = self._durations.sessions(self._all)
        if work is None:
            return one * self._asked * self._ratio
        left = pace * sum(self._durations.sessions(group) * count for group, count in tuple(work))
        if running is not None:
            began, targets = running
            whole = pace * self._durations.sessions(targets)
            left -= min(time.monotonic() - began, (1 - _OVERDUE) * whole)
        if self._screen and kept is not None:
            left += self._durations.sessions(kept) * max(0, (self._needed or self._asked) - self._screen) * pace
        elif self._screen:  # what is kept, and how noisy the host is, is only known from earlier sweeps
            left += one * max(0.0, self._asked * self._ratio - self._screen) * pace
        return max(0.0, left)


def models(count: int, group: int, groups: int) -> str:
    """The models of a group, in words."""
    return f"all {count} models" if groups == 1 else f"{count} models (group {group + 1} of {groups})"


def shares(launch: Launch) -> dict[str, float]:
    """Latencies of one launch as a share of the baseline's, by key: rough, but known after the first."""
    base = launch.series.get(BASELINE)
    if base is None or not base.block_medians_ns:
        return {}
    whole = statistics.median(base.block_medians_ns)
    return {k: statistics.median(s.block_medians_ns) / whole for k, s in launch.series.items() if s.block_medians_ns}

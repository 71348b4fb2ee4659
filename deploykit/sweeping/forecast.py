"""How long the rest of the latency stage takes, before it begins and while it runs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence

from deploykit.core.candidate import Target
from deploykit.measuring.latency import Launch
from deploykit.measuring.ratios import launches_needed
from deploykit.sweeping.durations import Durations

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
        self._running: tuple[float, list[Target]] | None = None
        self._groups: list[list[Target]] | None = None
        self._left: list[float] = []
        self._kept: list[Target] | None = None

    def screening(self, groups: Sequence[Sequence[Target]], done: Sequence[int]) -> None:
        """What the screen is to do.

        Args:
            groups: Sessions of each group.
            done: Launches that each group has from an earlier sweep.
        """
        self._groups = [list(group) for group in groups]
        self._left = [max(0.0, self._screen - count) for count in done]

    def keeping(self, targets: Iterable[Target]) -> None:
        """Sessions of a launch of those that will be kept after the screen, as it looks now."""
        self._kept = list(targets)

    def finishing(self, groups: Sequence[Sequence[Target]], left: Sequence[int]) -> None:
        """What is to do after the screen: sessions and launches of each group."""
        self._screen = 0
        self._groups = [list(group) for group in groups]
        self._left = [float(count) for count in left]

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
        self._left[group] = max(0.0, self._left[group] - 1)
        if not self._screen:
            self._extend(group, launches)

    def _extend(self, group: int, launches: Sequence[Launch]) -> None:
        """Expect the launches that a noisy host will add, the more so the nearer the decision is."""
        done, planned = len(launches), max(0, self._asked - len(launches))
        mean = statistics.fmean([launch.seconds for launch in launches])
        room = max(0, int(self._budget_s / max(mean, 1e-9)) - done)
        added = max(0, min(launches_needed(launches, self._most) - done, room) - planned)
        self._left[group] = planned + added * min(1.0, done / self._asked) ** 2

    def seconds(self) -> float:
        """Seconds that are left."""
        pace = statistics.median(self._paces[-5:]) if self._paces else 1.0
        one = self._durations.sessions(self._all)
        if self._groups is None:
            return one * self._asked * self._ratio
        each = [self._durations.sessions(group) for group in self._groups]
        left = pace * sum(seconds * count for seconds, count in zip(each, self._left, strict=True))
        if self._running is not None:
            began, targets = self._running
            whole = pace * self._durations.sessions(targets)
            left -= min(time.monotonic() - began, (1 - _OVERDUE) * whole)
        if self._screen and self._kept is not None:
            left += self._durations.sessions(self._kept) * max(0, self._asked - self._screen) * pace
        elif self._screen:  # what is kept, and how noisy the host is, is only known from earlier sweeps
            left += one * max(0.0, self._asked * self._ratio - self._screen) * pace
        return max(0.0, left)


def models(count: int, group: int, groups: int) -> str:
    """The models of a group, in words."""
    return f"all {count} models" if groups == 1 else f"{count} models (group {group + 1} of {groups})"


def outrun(times: Mapping[str, float], drops: Mapping[str, float], margin: float) -> set[str]:
    """Candidates that another one beats by a margin in time while it loses no more, by estimate.

    Args:
        times: Key → median time.
        drops: Key → loss of the metric.
        margin: How much faster the other one is at least, as a share.
    """
    known = times.keys() & drops.keys()
    return {
        key for key in known
        if any(times[other] * (1 + margin) < times[key] and drops[other] <= drops[key] for other in known)
    }  # fmt: skip

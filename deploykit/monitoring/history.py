"""Sums of the past, recent ones apart and older ones together, so that any stretch up to now can be asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from deploykit.core.serial import Plain

#: Stretches of one length before two of them become one.
_SAME = 8
#: Stretches begin with so many requests.
_SHORTEST = 64


@dataclass(frozen=True)
class Stretch(Plain):
    """Sums over some requests that came one after the other.

    Attributes:
        start: Number of requests before it.
        requests: Requests in it.
        sums: What is summed up.
    """

    start: int
    requests: int
    sums: tuple[float, ...]

    def __add__(self, other: Stretch) -> Stretch:
        sums = tuple(a + b for a, b in zip(self.sums, other.sums, strict=True))
        return Stretch(self.start, self.requests + other.requests, sums)


@dataclass
class History(Plain):
    """Stretches of growing length towards the past (Datar et al., SIAM J. Comput. 2002): a few hundred at most.

    Attributes:
        stretches: The oldest one first.

    Example:
        >>> from deploykit.monitoring.history import History
        >>> history = History()
        >>> for start in range(0, 6400, 64):
        ...     history.add(start, 64, [64.0])
        >>> history.since(6400 - 128).requests, history.since(0).sums, len(history.stretches) < 40
        (128, (6400.0,), True)
    """

    stretches: list[Stretch] = field(default_factory=list)

    def add(self, start: int, requests: int, sums: Sequence[float]) -> None:
        """Add the requests that come next."""
        new = Stretch(start, requests, tuple(float(s) for s in sums))
        held = self.stretches
        if held and held[-1].requests < _SHORTEST:
            held[-1] = held[-1] + new
        else:
            held.append(new)
        size = _SHORTEST
        while True:
            same = [i for i, s in enumerate(held) if size <= s.requests < 2 * size]
            if len(same) <= _SAME:
                break
            first = same[0]
            held[first : first + 2] = [held[first] + held[first + 1]]
            size *= 2

    def since(self, start: int) -> Stretch | None:
        """Sums of all stretches that begin there or later; at least the last one; None when there are none."""
        chosen = [s for s in self.stretches if s.start >= start] or self.stretches[-1:]
        if not chosen:
            return None
        total = chosen[0]
        for one in chosen[1:]:
            total = total + one
        return total

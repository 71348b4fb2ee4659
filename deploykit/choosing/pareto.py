"""The front of quality against cost, with ties by interval."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from typing import Any

from deploykit.core.errors import unknown_name
from deploykit.core.result import Interval, Result

#: Facts of a host that must agree where latencies are compared.
HARDWARE = ("cpu", "cores", "features", "machine", "system")

#: What can be minimized: name → (title, unit, the row's value as an interval, smaller is better).
_Cost = Callable[[Result], Interval | None]


def _latency(row: Result) -> Interval | None:
    """Relative latency (1 / speed-up): paired with the baseline, so comparable between groups of launches."""
    latency = row.measurement.latency if row.measurement else None
    if latency is None:
        return None
    speedup = latency.speedup
    return Interval(1 / speedup.value, 1 / speedup.high, 1 / speedup.low if speedup.low > 0 else float("inf"))


def _exact(get: Callable[[Result], float | None]) -> _Cost:
    def cost(row: Result) -> Interval | None:
        value = get(row) if row.measurement else None
        return None if value is None else Interval(value, value, value)

    return cost


def _load(row: Result) -> Interval | None:
    found = row.measurement.footprint if row.measurement else None
    return found.load_ms or found.cold_load_ms if found else None


def _energy(row: Result) -> Interval | None:
    found = row.measurement.footprint if row.measurement else None
    return found.energy_mj if found else None


def _money(row: Result) -> Interval | None:
    """Machine time per prediction: what it costs, whatever the price of an hour."""
    found = row.measurement.footprint if row.measurement else None
    return found.cost_per_million(1.0) if found else None


def _writing(row: Result) -> Interval | None:
    """Milliseconds of a token that a decoder writes."""
    found = row.measurement.footprint if row.measurement else None
    pace = found.tokens_per_second if found else None
    return None if pace is None else Interval(1e3 / pace.value, 1e3 / pace.high, 1e3 / pace.low)


COSTS: dict[str, _Cost] = {
    "latency": _latency,
    "size": _exact(lambda r: r.measurement.size_bytes if r.measurement else None),
    "compressed_size": _exact(lambda r: r.measurement.compressed_bytes if r.measurement else None),
    "memory": _exact(lambda r: r.measurement.peak_memory_bytes if r.measurement else None),
    "cpu": _exact(lambda r: r.measurement.latency.cpu_ms if r.measurement and r.measurement.latency else None),
    "load": _load,
    "energy": _energy,
    "cost": _money,
    "writing": _writing,
}


def cost_of(name: str) -> _Cost:
    """The cost called ``name``.

    Raises:
        SettingError: No such cost (lists the known ones).
    """
    if name not in COSTS:
        raise unknown_name("cost to minimize", name, COSTS)
    return COSTS[name]


def hardware(row: Result) -> tuple[Any, ...] | None:
    """The hardware a row's latency was measured on; None when it has none, or does not say."""
    measurement = row.measurement
    if measurement is None or measurement.latency is None or "cpu" not in measurement.environment:
        return None
    return tuple(str(measurement.environment.get(fact)) for fact in HARDWARE)


def device(row: Result) -> str:
    """The device a row's latency was measured on."""
    return row.candidate.target.device


def devices_of(rows: Sequence[Result], baseline: str) -> tuple[str, ...]:
    """Devices that rows ran on, the baseline's first: each has a front of its own."""
    return tuple(dict.fromkeys(device(r) for r in sorted(rows, key=lambda r: r.key != baseline)))


def competing(rows: Sequence[Result], baseline: str) -> list[Result]:
    """Rows that may be compared: latencies of other hardware than the baseline's are not rivals."""
    own = next((hardware(r) for r in rows if r.key == baseline), None)
    return [r for r in rows if own is None or hardware(r) in {None, own}]


def beats(one: Result, other: Result, cost: str = "latency", *, margin: float | None = None) -> bool:
    """Whether ``one`` is confirmed to be better on one axis and, by estimate, no worse on the other.

    Rows on different devices do not compete: who runs on a CPU does not have the GPU.

    Args:
        one: A row.
        other: Another one.
        cost: Name of the cost.
        margin: ``one`` must be confirmed to be cheaper by this share, whatever its quality.
    """
    first, second = cost_of(cost)(one), cost_of(cost)(other)
    if first is None or second is None or one.measurement is None or other.measurement is None:
        return False
    if device(one) != device(other):
        return False
    if None not in {hardware(one), hardware(other)} and hardware(one) != hardware(other):
        return False
    good, bad = one.measurement.score.drop, other.measurement.score.drop
    surely_cheaper = first.high < second.low
    if margin is not None:
        return first.high * (1 + margin) < second.low and good.value <= bad.value
    surely_better = good.high < bad.low
    return (surely_cheaper and good.value <= bad.value) or (surely_better and first.value <= second.value)


def dominating(rows: Sequence[Result], row: Result, cost: str, *, size_bytes: int) -> Result | None:
    """The row with the smallest loss of those confirmed to cost less than ``row``; None when no cost is confirmed.

    Args:
        rows: Candidates to compare with.
        row: A candidate whose quality is not known yet.
        cost: Name of the cost.
        size_bytes: Size of its artifact, known before it is measured.
    """
    own = Interval(size_bytes, size_bytes, size_bytes) if cost == "size" else cost_of(cost)(row)
    if own is None:
        return None
    cheaper = [
        other
        for other in rows
        if other.status == "measured" and (theirs := cost_of(cost)(other)) is not None and theirs.high < own.low
    ]
    return min(cheaper, key=lambda r: r.measurement.score.drop.high if r.measurement else 1.0, default=None)


def front(rows: Sequence[Result], cost: str = "latency") -> list[Result]:
    """Rows that no other row on their device beats, cheapest first: the Pareto fronts and what is tied with them."""
    found = beaten_by(rows, cost)
    return sorted((r for r in _measured(rows, cost) if r.key not in found), key=lambda r: _value(r, cost))


def beaten_by(rows: Sequence[Result], cost: str = "latency") -> dict[str, Result]:
    """Key of each row that another one beats → the one that does it best: see `beats`.

    Args:
        rows: Candidates to compare with each other.
        cost: Name of the cost.
    """
    measured = _measured(rows, cost)
    places = {r.key: (device(r), hardware(r)) for r in measured}
    found: dict[str, Result] = {}
    for place in dict.fromkeys(places.values()):
        # A row that does not report its hardware is compared with all on its device.
        same = [r for r in measured if device(r) == place[0]]
        rivals = _Rivals([r for r in same if place[1] is None or places[r.key][1] in {None, place[1]}], cost)
        for row in measured:
            if places[row.key] == place and (rival := rivals.that_beats(row)) is not None:
                found[row.key] = rival
    return found


class _Rivals:
    """Finds who beats a row without comparing all pairs: thousands of rows are compared at each new result."""

    def __init__(self, rows: Sequence[Result], cost: str) -> None:
        self._cost = cost_of(cost)
        self._by_cost = _Best([(self._costs(r).high, _drop(r).value, r) for r in rows])
        self._by_drop = _Best([(_drop(r).high, self._costs(r).value, r) for r in rows])

    def that_beats(self, row: Result) -> Result | None:
        cost, drop = self._costs(row), _drop(row)
        return self._by_cost.below(cost.low, drop.value) or self._by_drop.below(drop.low, cost.value)

    def _costs(self, row: Result) -> Interval:
        interval = self._cost(row)
        assert interval is not None
        return interval


class _Best:
    """Of all rows confirmed to lie below a limit on one axis, the best by estimate on the other."""

    def __init__(self, items: list[tuple[float, float, Result]]) -> None:
        items.sort(key=lambda item: item[0])
        self._ends = [end for end, _, _ in items]
        self._best: list[tuple[float, Result]] = []
        for _, value, row in items:
            self._best.append(min([*self._best[-1:], (value, row)], key=lambda pair: pair[0]))

    def below(self, end: float, value: float) -> Result | None:
        count = bisect.bisect_left(self._ends, end)
        return self._best[count - 1][1] if count and self._best[count - 1][0] <= value else None


def _measured(rows: Sequence[Result], cost: str) -> list[Result]:
    return [r for r in rows if r.status == "measured" and cost_of(cost)(r) is not None]


def _drop(row: Result) -> Interval:
    assert row.measurement is not None
    return row.measurement.score.drop


def tied(rows: Sequence[Result], winner: Result, cost: str = "latency") -> list[Result]:
    """Rows whose cost cannot be distinguished from the winner's: the intervals overlap.

    A row without a conclusive latency ties with nothing: a wide interval is not an advantage.
    """
    best = cost_of(cost)(winner)
    assert best is not None
    found = []
    for row in rows:
        value = cost_of(cost)(row)
        latency = row.measurement.latency if row.measurement else None
        if latency is None or "inconclusive" in latency.flags:
            continue
        if row.key != winner.key and value is not None and value.low <= best.high and best.low <= value.high:
            found.append(row)
    return found


def _value(row: Result, cost: str) -> float:
    interval = cost_of(cost)(row)
    assert interval is not None
    return interval.value

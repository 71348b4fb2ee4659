"""Machines and devices by what their best candidate takes, under limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from deploykit.choosing.goals import Decision, Goal, decide
from deploykit.choosing.pareto import cost_of
from deploykit.core.errors import SettingError
from deploykit.core.result import Interval, Result


@dataclass(frozen=True)
class Limits:
    """What a candidate may take; None: as much as it likes.

    Attributes:
        p50_ms: Median latency.
        energy_mj: Energy of a prediction, millijoules.
        cost_per_million: Of predictions, in the currency of the price.
    """

    p50_ms: float | None = None
    energy_mj: float | None = None
    cost_per_million: float | None = None

    def checked(self) -> Limits:
        """The limits, if they are.

        Raises:
            SettingError: One is not a positive number.
        """
        for name in ("p50_ms", "energy_mj", "cost_per_million"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise SettingError(
                    f"The limit max_{name} must be a positive number, got {value!r}.",
                    remedy="leave it out where there is no such limit.",
                )
        return self

    def missed(self, row: Result, price: float | None) -> tuple[str, ...]:
        """The limits that a row is not confirmed to keep, in words: the far end of its 95 % interval must."""
        latency = row.measurement.latency if row.measurement else None
        found = [
            _missed("p50", "ms", self.p50_ms, latency.p50_ms if latency else None),
            _missed("energy", "mJ", self.energy_mj, quantity(row, "energy")),
            _missed("cost per million", "", self.cost_per_million, quantity(row, "cost", price)),
        ]
        return tuple(filter(None, found))


def _missed(name: str, unit: str, most: float | None, value: Interval | None) -> str:
    if most is None or (value is not None and value.high <= most):
        return ""
    if value is None:
        return f"{name} is not known"
    shown = f"{value.high:.3g}{f' {unit}' if unit else ''}"
    return f"{name} may be {shown}, {most:g} is the limit"


def quantity(row: Result, cost: str, price: float | None = None) -> Interval | None:
    """What is minimized, in its unit: milliseconds, millijoules, bytes, or cost per million at a price per hour."""
    measured = row.measurement
    if measured is None:
        return None
    if cost == "latency":
        return measured.latency.p50_ms if measured.latency else None
    if cost == "cost":
        return measured.footprint.cost_per_million(price) if measured.footprint and price else None
    return cost_of(cost)(row)


@dataclass(frozen=True)
class Placed:
    """The best candidate of a place.

    Attributes:
        decision: Which one, and why.
        missed: What keeps it from meeting goal and limits; empty when it does.
        value: What is minimized, in its unit; None: it was not measured.
    """

    decision: Decision
    missed: tuple[str, ...]
    value: Interval | None

    @property
    def order(self) -> tuple[bool, float]:
        """For sorting: what meets everything first, then the smallest far end of the interval."""
        return bool(self.missed), self.value.high if self.value else math.inf


def best_of(rows: Sequence[Result], goal: Goal, limits: Limits, *, relative: bool) -> Placed:
    """The best of the rows of one place: within the limits if one is, else the best of all, and what it misses."""
    price = goal.price_per_hour
    inside = [row for row in rows if not limits.missed(row, price)]
    decision = decide(inside, goal, relative=relative)
    if not decision.met:
        anywhere = decide(rows, goal, relative=relative)
        decision = anywhere if anywhere.winner is not None else decision
    if decision.winner is None:
        return Placed(decision, (decision.reason.rstrip("."),), None)
    missed = limits.missed(decision.winner, price)
    if not decision.met:
        missed = ("no candidate is confirmed to lose little enough", *missed)
    return Placed(replace(decision, met=not missed), missed, quantity(decision.winner, goal.minimize, price))

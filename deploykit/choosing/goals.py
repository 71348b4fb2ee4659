"""Which candidate wins for a goal, and why a goal is missed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deploykit.choosing.pareto import COSTS, cost_of, tied
from deploykit.core.contract import MAX_OUTPUT_ERROR, MIN_AGREEMENT
from deploykit.core.errors import SettingError
from deploykit.core.result import Result


@dataclass(frozen=True)
class Goal:
    """What the user wants.

    Attributes:
        minimize: ``"latency"``, ``"size"``, ``"compressed_size"``, ``"memory"``, ``"cpu"``, ``"load"`` (opening the
            file), ``"energy"`` (of a prediction), ``"cost"`` (machine time of a prediction) or ``"writing"`` (time of
            a token that a decoder writes).
        max_drop: Largest loss of the metric: absolute for accuracies (0.01 is one percentage point), relative for
            errors. The far end of the 95 % interval must satisfy it.
        max_output_error: Largest error of an output that is not scored, as a share of its spread.
        min_agreement: Smallest share of answers of an output that is not scored which must be the original's.
        price_per_hour: Of the machine, in any currency, for the cost of a million predictions; None: not known.
    """

    minimize: str = "latency"
    max_drop: float = 0.01
    max_output_error: float = MAX_OUTPUT_ERROR
    min_agreement: float = MIN_AGREEMENT
    price_per_hour: float | None = None


@dataclass(frozen=True)
class Decision:
    """The winner.

    Attributes:
        winner: The best so far; None only when no candidate at all is measured.
        met: Whether it is confirmed to satisfy the goal.
        reason: Why it was chosen, or why the goal is missed.
        ties: Rows inside the goal whose cost cannot be distinguished from the winner's.
        tempting: Cheaper rows that are not confirmed to be within the goal.
    """

    winner: Result | None
    met: bool
    reason: str
    ties: tuple[Result, ...] = ()
    tempting: tuple[Result, ...] = ()


def checked_price(price_per_hour: float | None) -> float | None:
    """The price of an hour, if it is one.

    Raises:
        SettingError: It is not a positive number.
    """
    if price_per_hour is not None and not 0 < price_per_hour < math.inf:
        raise SettingError(
            f"The price of an hour (price_per_hour) must be a positive number, got {price_per_hour}.",
            remedy="give what an hour of the machine costs, such as 0.17.",
        )
    return price_per_hour


def limit(share: float, *, relative: bool = False) -> str:
    """A largest loss with its unit, every digit of it: ``"1.0 pp"``, ``"0.25 pp"``, ``"5.0 %"``.

    Args:
        share: The loss.
        relative: Whether changes of the metric are relative (errors).
    """
    text = f"{100 * share:.6f}".rstrip("0")
    return f"{text}{'0' if text.endswith('.') else ''} {'%' if relative else 'pp'}"


def decide(
    rows: Sequence[Result], goal: Goal, allowed: Callable[[Result], str] = lambda _row: "", *, relative: bool = False
) -> Decision:
    """The best row for a goal: always the best so far.

    Among candidates whose costs cannot be distinguished, the smallest file wins.

    Args:
        rows: All rows.
        goal: What is wanted.
        allowed: Why a row may not be chosen, "" when it may.
        relative: Whether changes of the metric are relative (errors).

    Raises:
        SettingError: An unknown cost.
    """
    cost = cost_of(goal.minimize)
    measured = [r for r in rows if r.status == "measured" and cost(r) is not None]
    usable = [r for r in measured if not allowed(r)]
    if not usable:
        if measured:
            return Decision(None, met=False, reason=allowed(measured[0]))
        failed = [r for r in rows if r.failure is not None]
        cause = f" {failed[0].label}: {failed[0].failure.cause}" if failed and failed[0].failure else ""
        return Decision(None, met=False, reason=f"{_nothing(rows, goal)}{cause}")
    inside = [r for r in usable if _drop(r) <= goal.max_drop and not _ruined(r, goal)]
    if not inside:
        return _closest(usable, goal, relative=relative)
    cheapest = min(inside, key=lambda r: _cost(r, goal))
    ties = tied(inside, cheapest, goal.minimize)
    winner = min([cheapest, *ties], key=lambda r: (_size(r), _cost(r, goal)))
    others = tuple(r for r in [cheapest, *ties] if r.key != winner.key)
    some = "the only candidate confirmed to lose" if len(inside) == 1 else f"{len(inside)} candidates confirmed to lose"
    reason = f"the lowest {goal.minimize} of {some} at most "
    reason += limit(goal.max_drop, relative=relative)
    if others:
        plural = "s" if len(others) > 1 else ""
        reason += f"; tied with {len(others)} other{plural} by interval; the smallest file wins"
    tempting = [
        r for r in usable if _drop(r) > goal.max_drop and not _ruined(r, goal) and _cost(r, goal) < _cost(winner, goal)
    ]
    ruined = [r for r in usable if _ruined(r, goal) and _cost(r, goal) < _cost(winner, goal)]
    if tempting:
        count = len(tempting)
        verb = "is" if count == 1 else "are"
        reason += f"; {count} cheaper one{'s' if count > 1 else ''} {verb} not confirmed to be within the limit"
    if ruined:
        reason += f"; {len(ruined)} cheaper one{'s ruin' if len(ruined) > 1 else ' ruins'} another output"
    return Decision(winner, met=True, reason=reason + ".", ties=others, tempting=tuple(tempting))


def _nothing(rows: Sequence[Result], goal: Goal) -> str:
    """Why there is no candidate to choose, and what there is."""
    if any(r.status == "measured" for r in rows):
        done = [r for r in rows if r.status == "measured"]
        able = [name for name, cost in COSTS.items() if any(cost(r) is not None for r in done)]
        return f"No {goal.minimize} was measured; you can minimize {', '.join(able)}."
    begun = sum(r.status == "pending" and r.measurement is not None for r in rows)
    if not begun:
        return "No candidate has been measured yet."
    return f"No candidate is fully measured yet: {begun} of {len(rows)} are evaluated but not fully timed."


def _closest(usable: list[Result], goal: Goal, *, relative: bool) -> Decision:
    winner = min(usable, key=lambda r: (bool(_ruined(r, goal)), _drop(r), _cost(r, goal)))
    assert winner.measurement is not None
    drop = winner.measurement.score.drop
    shown = f"{_amount(drop.value, relative=relative)} (95 % interval up to {_amount(drop.high, relative=relative)})"
    allowed = limit(goal.max_drop, relative=relative)
    reason = f"No candidate is confirmed to stay within {allowed}; the closest loses {shown}."
    if drop.value <= goal.max_drop < drop.high:
        reason += " More evaluation data would settle it."
    return Decision(winner, met=False, reason=reason)


def _amount(drop: float, *, relative: bool) -> str:
    amount = round(100 * drop, 2) + 0.0  # no negative zero
    return f"{amount:.2f} {'%' if relative else 'pp'}"


def _ruined(row: Result, goal: Goal) -> str:
    """Which output that is not scored differs too much from the original's; "" when none does."""
    assert row.measurement is not None
    return row.measurement.ruined(goal.max_output_error, goal.min_agreement)


def _drop(row: Result) -> float:
    assert row.measurement is not None
    return row.measurement.score.drop.high


def _size(row: Result) -> int:
    assert row.measurement is not None
    return row.measurement.size_bytes


def _cost(row: Result, goal: Goal) -> float:
    """The far end of the cost's interval: a lucky estimate with a wide interval does not win."""
    interval = cost_of(goal.minimize)(row)
    assert interval is not None
    return interval.high

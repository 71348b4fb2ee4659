"""Machines and devices side by side, each with its best candidate, ranked under limits."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.choosing.goals import checked_price
from deploykit.choosing.pareto import device, hardware
from deploykit.choosing.ranking import Limits, best_of, quantity
from deploykit.core.errors import SettingError
from deploykit.core.result import Interval, Result
from deploykit.reporting import numbers
from deploykit.reporting.places import place
from deploykit.reporting.report import Choice, Report
from deploykit.reporting.views import table
from deploykit.reporting.views.drawing import shown
from deploykit.reporting.views.html import THEMED, pictures

if TYPE_CHECKING:
    import pandas as pd

_TITLES = ("Machine", "Device", "Verdict", "Best candidate", "Runs on", "p50, ms", "Examples/s", "Energy, mJ each",
           "Cost per million", "Change, {unit}")  # fmt: skip
_VERDICT = _TITLES.index("Verdict")
_WORDS = range(_TITLES.index("p50, ms"))
_UNITS = {"latency": "p50, ms", "energy": "Energy, mJ each", "cost": "Cost per million", "load": "Load, ms",
          "size": "Size, bytes", "compressed_size": "Size after gzip, bytes", "memory": "Memory, bytes",
          "cpu": "CPU, ms", "writing": "ms per token"}  # fmt: skip
_CSS = ".dk-report td.dk-said{white-space:normal;min-width:14em}"


def rank_devices(
    *reports: Report | str | Path,
    minimize: str | None = None,
    max_drop: float | None = None,
    max_p50_ms: float | None = None,
    max_energy_mj: float | None = None,
    max_cost_per_million: float | None = None,
    price_per_hour: float | Mapping[str, float] | None = None,
) -> DeviceRanking:
    """Rank machines and devices by their best candidate, under limits on latency, energy and cost.

    Candidates of different devices never compete: each device has its own front and its own best candidate. Machines
    come from several reports of the same model, for example one swept here and one through ``engine="ssh://…"``.
    Every limit must hold at the far end of the 95 % interval.

    Args:
        *reports: Reports, or folders of their stores.
        minimize: ``"latency"`` (in milliseconds, so that machines can be compared), ``"energy"``, ``"cost"`` or another
            cost of `Report.best`; None: that of the first report's sweep.
        max_drop: Largest loss of the metric, see `Report.best`.
        max_p50_ms: Largest median latency, milliseconds.
        max_energy_mj: Largest energy of a prediction, millijoules.
        max_cost_per_million: Largest cost of a million predictions.
        price_per_hour: Of all machines; or by device (``"cuda"``), host or CPU.

    Raises:
        SettingError: No report or one twice, limits or prices that are not positive numbers, a price for what is not
            there, or a cost to minimize without a price.
        StoreError: A folder has no store, or reports are of different models or metrics.

    Example:
        >>> ranking = dk.rank_devices("finished", max_p50_ms=50.0)
        >>> [(entry.device, entry.met) for entry in ranking.entries]
        [('cpu', True)]
    """
    if not reports:
        raise SettingError("There is nothing to rank.", remedy="give the report or the store of a sweep.")
    opened = [r if isinstance(r, Report) else Report.open(r) for r in reports]
    _same(opened)
    places = [(report, rows) for report in opened for rows in _places(report)]
    prices = _prices(price_per_hour, [rows[0] for _, rows in places])
    limits = Limits(max_p50_ms, max_energy_mj, max_cost_per_million).checked()
    wanted = minimize or opened[0].goal().minimize
    if price_per_hour is None and (wanted == "cost" or max_cost_per_million is not None):
        raise SettingError(
            "Costs of different machines cannot be ranked without prices.",
            remedy='pass price_per_hour, for example 0.17 or {"cuda": 2.5, "cpu": 0.17}.',
        )
    entries = []
    for report, rows in places:
        price = _price(prices, rows[0])
        goal = report.goal(wanted, max_drop, price)
        found = best_of(rows, goal, limits, relative=report.relative)
        winner = found.decision.winner
        facts = rows[0].measurement.environment if rows[0].measurement else {}
        machine = f"{facts.get('cpu', 'unknown')}, {facts.get('cores', '?')} cores"
        machine += f" ({facts['host']})" if facts.get("host") else ""
        choice = Choice(report, winner, goal, found.decision) if winner else None
        entry = RankedDevice(
            machine, device(rows[0]), choice, found.missed, found.value, price, str(report.path),
            tuple(row.key for row in rows),
        )  # fmt: skip
        entries.append((found.order, entry))
    ranked = [entry for _, entry in sorted(entries, key=lambda pair: pair[0])]
    return DeviceRanking(wanted, tuple(_distinct(ranked)), relative=opened[0].relative)


def prices_of(given: Iterable[str]) -> float | dict[str, float] | None:
    """Prices of an hour from ``AMOUNT`` or ``NAME=AMOUNT``; None when there are none.

    Raises:
        SettingError: What is not an amount, or one for all beside others for some.
    """
    found: dict[str, float] = {}
    for text in given:
        name, _, amount = text.strip().rpartition("=")
        try:
            found[name] = float(amount)
        except ValueError:
            raise SettingError(
                f"A price must be an amount such as 0.17 or cuda=2.5, got {text!r}.", remedy="give a number."
            ) from None
    if "" in found and len(found) > 1:
        raise SettingError("One price is for all machines and others are for some.", remedy="name what each is for.")
    return found.get("", found or None)


def _same(reports: list[Report]) -> None:
    first = reports[0]
    held = [(report.path.resolve(), report.rows) for report in reports]
    if (twice := next((path for path, rows in held if held.count((path, rows)) > 1), None)) is not None:
        raise SettingError(f"The report {twice} is given twice.", remedy="give each report once.")
    for other in reports[1:]:
        for what, own, their in (
            ("models", first.model.digest[:12], other.model.digest[:12]), ("metrics", first.metric, other.metric),
        ):  # fmt: skip
            if own != their:
                raise SettingError(
                    f"The reports {first.path} and {other.path} are of different {what}: {own} and {their}.",
                    remedy="sweep one model with one metric on all machines.",
                )


def _distinct(entries: list[RankedDevice]) -> list[RankedDevice]:
    """The same entries; machines that cannot be distinguished by what is known of them have their store's name besides.

    Two that are the same in one store as well, which differ in what their CPUs can do, are numbered.
    """
    found: list[RankedDevice] = []
    for entry in entries:
        alike = [e for e in entries if (e.machine, e.device) == (entry.machine, entry.device)]
        within = [e for e in alike if e.store == entry.store]
        known = {e.store for e in alike}
        short = len({Path(store).name for store in known}) == len(known)
        store = Path(entry.store).name if short else entry.store
        words = [store] if len(known) > 1 else []
        words += [f"no. {within.index(entry) + 1}"] if len(within) > 1 else []
        found.append(replace(entry, machine=" · ".join([entry.machine, *words])))
    return found


def _places(report: Report) -> list[list[Result]]:
    """Timed rows by device and hardware, in the order in which they appear."""
    found: dict[Any, list[Result]] = {}
    for row in report.rows:
        if row.status == "measured" and row.measurement is not None and row.measurement.latency is not None:
            found.setdefault((device(row), hardware(row)), []).append(row)
    if not found:
        raise SettingError(
            f"No candidate of {report.path} is timed, so its devices cannot be ranked.",
            remedy="run the sweep with launches=5 or more.",
        )
    return list(found.values())


def _names(row: Result) -> tuple[str, ...]:
    """What a price may be for, the narrowest first."""
    facts = row.measurement.environment if row.measurement else {}
    return tuple(str(n) for n in (facts.get("host"), facts.get("cpu"), device(row)) if n)


def _prices(given: float | Mapping[str, float] | None, rows: list[Result]) -> dict[str, float | None]:
    if not isinstance(given, Mapping):
        return {"": checked_price(given)}
    known = list(dict.fromkeys(name for row in rows for name in _names(row)))
    for name, price in given.items():
        checked_price(price)
        if name not in known:
            raise SettingError(
                f"There is a price for {name!r}, which none of the reports has.", remedy=f"known: {', '.join(known)}."
            )
    return dict(given)


def _price(prices: Mapping[str, float | None], row: Result) -> float | None:
    return next((prices[name] for name in (*_names(row), "") if name in prices), None)


@dataclass(frozen=True)
class RankedDevice:
    """A device of a machine with its best candidate.

    Attributes:
        machine: CPU, cores, and the host's name; the store's as well where another machine has the same.
        device: ``"cpu"``, ``"cuda"``, …
        choice: The best candidate, which can be exported; None: there is nothing to choose.
        missed: What keeps it from meeting goal and limits; empty when it does.
        lowest: What is minimized, in its unit, of the best candidate; None: it was not measured.
        price_per_hour: Of the machine; None: not known.
        store: Folder of the report.
        keys: Of all candidates that are timed there.
    """

    machine: str
    device: str
    choice: Choice | None
    missed: tuple[str, ...]
    lowest: Interval | None
    price_per_hour: float | None
    store: str
    keys: tuple[str, ...] = ()

    @property
    def met(self) -> bool:
        """Whether its best candidate is confirmed to meet the goal and all limits."""
        return not self.missed

    @property
    def verdict(self) -> str:
        """``"meets all limits"``, or what it misses."""
        return "; ".join(self.missed) or "meets all limits"

    def value(self, cost: str) -> Interval | None:
        """Milliseconds (``"latency"``), millijoules (``"energy"``) or cost per million (``"cost"``) of the best."""
        return None if self.choice is None else quantity(self.choice.result, cost, self.price_per_hour)


@dataclass(frozen=True)
class DeviceRanking:
    """Devices, the best first; those that miss a limit come last.

    Attributes:
        minimize: What they are ranked by.
        entries: One for each device of each machine.
        relative: Whether changes of the metric are relative (errors).

    Example:
        >>> ranking = dk.rank_devices("finished", minimize="size")
        >>> ranking.entries[0].choice.result.family
        'quantize'
    """

    minimize: str
    entries: tuple[RankedDevice, ...]
    relative: bool = False

    @cached_property
    def summary(self) -> str:
        """Which device is first, and what cannot be distinguished from it."""
        good = [e for e in self.entries if e.met]
        if not good:
            return "No device meets all limits."
        first = good[0]
        told = first.lowest
        tied = [
            e for e in good[1:]
            if told is not None and (v := e.lowest) is not None and v.low <= told.high and told.low <= v.high
        ]  # fmt: skip
        count = f"{len(good)} of {len(self.entries)} device{'s' if len(self.entries) > 1 else ''}"
        also = f"; tied with it by interval: {', '.join(_where(e) for e in tied)}" if tied else ""
        verb = "meets" if len(good) == 1 else "meet"
        return f"{count} {verb} all limits. Lowest {self.minimize.replace('_', ' ')}: {_where(first)}{also}."

    @property
    def headers(self) -> list[str]:
        """Column titles."""
        return [t.format(unit="%" if self.relative else "pp") for t in _TITLES]

    def cells(self) -> list[list[str]]:
        """The cells of the table, in the order of `headers`."""
        return [_cells(entry) for entry in self.entries]

    def records(self) -> list[dict[str, Any]]:
        """Flat records with units in the names; intervals as value, ``_low`` and ``_high``."""
        found = []
        for rank, entry in enumerate(self.entries, 1):
            winner = entry.choice.result if entry.choice else None
            record: dict[str, Any] = {
                "rank": rank, "machine": entry.machine, "device": entry.device, "met": entry.met,
                "verdict": entry.verdict, "store": entry.store, "key": winner.key if winner else None,
                "candidate": winner.label if winner else None,
                "runtime": winner.candidate.target.runtime if winner else None,
                "price_per_hour": entry.price_per_hour,
            }  # fmt: skip
            for name, cost in (("p50_ms", "latency"), ("energy_mj", "energy"), ("cost_per_million", "cost")):
                value = entry.value(cost)
                for end, part in (("", "value"), ("_low", "low"), ("_high", "high")):
                    record[f"{name}{end}"] = getattr(value, part) if value else None
            found.append(record)
        return found

    def to_frame(self) -> pd.DataFrame:
        """`records` as a data frame."""
        import pandas as pd

        return pd.DataFrame(self.records())

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data: ``minimize``, ``summary`` and ``devices``."""
        return {"minimize": self.minimize, "summary": self.summary, "devices": self.records()}

    def chart(self, *, dark: bool = False) -> Any:
        """What is minimized, with its 95 % interval, one bar for each device (Altair).

        Args:
            dark: Colors for a dark background.
        """
        return shown(self._drawn(dark=dark))

    def _drawn(self, *, dark: bool) -> Any:
        import altair

        alt: Any = altair
        title = _UNITS[self.minimize]
        rows = []
        for entry in self.entries:
            if (value := entry.lowest) is not None:
                met = "meets all" if entry.met else "misses"
                rows.append(
                    {"where": _where(entry), "met": met, "value": value.value, "low": value.low, "high": value.high}
                )
        said = "; ".join(f"{r['where']}: {r['value']:.3g}, {r['met']} limits" for r in rows)
        base = alt.Chart(alt.Data(values=rows)).encode(
            y=alt.Y("where:N", sort=None, title=None, axis=alt.Axis(labelLimit=0))
        )
        colors = ("#4596FF", "#8C9196") if dark else ("#0F4C9C", "#2F3337")
        color = alt.Color("met:N", title="limits", scale=alt.Scale(domain=["meets all", "misses"], range=list(colors)))
        opacity = alt.condition("datum.met == 'meets all'", alt.value(0.9), alt.value(0.35))
        bars = base.mark_bar(size=14, aria=False).encode(x=alt.X("value:Q", title=title), color=color, opacity=opacity)
        ends = base.mark_rule(strokeWidth=2, aria=False, stroke="#ffffff" if dark else "#000000").encode(
            x="low:Q", x2="high:Q"
        )
        return alt.layer(bars, ends).properties(
            width=480, height=alt.Step(28), description=f"{title} by device. {said}."
        )

    def __str__(self) -> str:
        return "\n".join([*table.aligned([self.headers, *self.cells()], words=_WORDS), self.summary])

    def __repr__(self) -> str:
        return f"DeviceRanking({self.summary})"

    def _repr_mimebundle_(self, **_options: Any) -> dict[str, Any]:
        body = (table.line(row, _kind) for row in self.cells())
        parts = [f"<p><b>{html.escape(self.summary)}</b></p>"]
        if any(e.lowest is not None for e in self.entries):
            parts.append(pictures(lambda dark: self._drawn(dark=dark), "Devices: "))
        parts.append(table.framed(self.headers, body, "Devices, the best first", _kind))
        head = f"<style>{table.CSS}{THEMED}{_CSS}</style>"
        return {"text/plain": str(self), "text/html": f'{head}<div class="dk-report">{"".join(parts)}</div>'}


def _where(entry: RankedDevice) -> str:
    return f"{entry.device} of {entry.machine}"


def _kind(column: int) -> str:
    return "dk-said" if column == _VERDICT else "" if column in _WORDS else "dk-n"


def _cells(entry: RankedDevice) -> list[str]:
    winner = entry.choice.result if entry.choice else None
    if winner is None or winner.measurement is None:
        return [entry.machine, entry.device, entry.verdict, *[numbers.DASH] * (len(_TITLES) - 3)]
    measured = winner.measurement
    speed = measured.footprint.throughput if measured.footprint else None
    return [
        entry.machine, entry.device, entry.verdict, winner.label, place(winner.candidate.target),
        numbers.milliseconds(measured.latency.p50_ms) if measured.latency else numbers.DASH,
        numbers.amount(speed), numbers.amount(entry.value("energy")), numbers.amount(entry.value("cost")),
        numbers.points(measured.score.change),
    ]  # fmt: skip

"""Parallel coordinates: one line for each candidate, over its settings and what was measured of it.

Up is better on the measured axes. A candidate that does not use a setting passes below its axis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deploykit.core.result import Result
from deploykit.reporting.settings import Setting, settings
from deploykit.reporting.views import tradeoff

#: Each candidate's values of the settings that differ, by its key.
Values = Mapping[str, Mapping[str, float | str]]
#: Where lines pass an axis whose setting they do not use; values are from 0 to 1.
UNUSED = -0.12
#: Ratio of the largest to the smallest value above which an axis is logarithmic.
_LOG_FROM = 5
#: Fields of points that are axes.
_MEASURED = ("change", "p50_ms", "size_kb")
#: Ticks of an axis with numbers.
_TICKS = 4


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        name: Of the setting, or ``change``, ``p50_ms`` or ``size_kb``.
        title: What people call it, with its unit.
        options: Words from the bottom to the top; empty for numbers.
        low: Value at the bottom; above ``high`` where less is better.
        high: Value at the top.
        log: Whether it is logarithmic.
        values: Its numbers, where they are few: those are its ticks.
    """

    name: str
    title: str
    options: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    values: tuple[float, ...] = ()

    def position(self, value: float | str | None) -> float:
        """Where a value is, from 0 (bottom) to 1; `UNUSED` for None."""
        if value is None:
            return UNUSED
        if self.options:
            return (self.options.index(str(value)) + 0.5) / len(self.options)
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, float(value)))
        return (at - low) / (high - low)

    def ticks(self) -> list[tuple[float, str]]:
        """Positions with the words that stand there."""
        if self.options:
            return [(self.position(option), option) for option in self.options]
        if self.values:
            return [(self.position(value), _number(value)) for value in self.values]
        found = []
        for step in range(_TICKS + 1):
            share = step / _TICKS
            value = self.low + share * (self.high - self.low)
            if self.log:
                value = self.low * (self.high / self.low) ** share
            found.append((share, _number(value)))
        return found


def _number(value: float) -> str:
    """Three digits, without an exponent where people would not write one."""
    return f"{float(f'{value:.3g}'):,g}".replace("-", "−") if abs(value) < 1e6 else f"{value:.3g}"


def axes(
    listed: Sequence[Setting], values: Values, points: Sequence[Mapping[str, Any]], unit: str, higher: bool
) -> list[Axis]:
    """The axes from left to right: settings that differ, then change, latency and size.

    Args:
        listed: The settings that differ, see `deploykit.reporting.settings.settings`.
        values: What candidates have of them.
        points: See `deploykit.reporting.views.tradeoff.points`.
        unit: Of changes.
        higher: Whether more of the metric is better.
    """
    found = [_of_setting(s, [v[s.name] for v in values.values() if s.name in v]) for s in listed]
    for name, title, more in (
        ("change", f"change, {unit}", higher), ("p50_ms", "p50, ms", False), ("size_kb", "size, kB", False),
    ):  # fmt: skip
        found.append(_of_numbers(name, title, [p[name] for p in points], more))
    return found


def _of_setting(setting: Setting, values: Sequence[float | str]) -> Axis:
    if setting.options:
        return Axis(setting.name, setting.label, setting.options)
    title = f"{setting.label}, {setting.unit}" if setting.unit else setting.label
    axis = _of_numbers(setting.name, title, [float(v) for v in values], more=True)
    different = tuple(sorted({float(v) for v in values}))
    return replace(axis, values=different) if len(different) <= _TICKS + 1 else axis


def _of_numbers(name: str, title: str, values: Sequence[float], more: bool) -> Axis:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    log = not more and low > 0 and high / low > _LOG_FROM
    if low == high:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    return Axis(name, title, (), *((low, high) if more else (high, low)), log)


def lines(values: Values, points: Sequence[Mapping[str, Any]], found: Sequence[Axis]) -> list[dict[str, Any]]:
    """One record for each candidate and axis, in the order of the axes.

    Args:
        values: What candidates have of the settings that differ.
        points: See `deploykit.reporting.views.tradeoff.points`.
        found: See `axes`.
    """
    records = []
    for point in points:
        own = {**values[point["key"]], **{name: point[name] for name in _MEASURED}}
        for axis in found:
            value = own.get(axis.name)
            records.append(
                {name: point[name] for name in ("key", "candidate", "runtime", "state", "chosen")}
                | {
                    "axis": axis.title,
                    "value": "not used" if value is None else value,
                    "position": axis.position(value),
                }
            )
    return records


def chart(
    rows: Sequence[Result], baseline: str, *, unit: str, higher: bool, chosen: str = "", dark: bool = False,
    width: int = 860, height: int = 340,
) -> Any:  # fmt: skip
    """The chart as an Altair object; see `lines` for its data."""
    import altair as alt

    points = tradeoff.points(rows, baseline, chosen)
    listed, values = settings(rows)
    found = axes(listed, values, points, unit, higher)
    ink = "#dddddd" if dark else "#222222"
    order = [axis.title for axis in found]
    x = alt.X(
        "axis:N", sort=order, title=None, scale=alt.Scale(type="point", padding=0.35),
        axis=alt.Axis(orient="top", labelAngle=0, labelLimit=120, labelFontWeight="bold", ticks=False, domain=False,
                      labelPadding=8),
    )  # fmt: skip
    y = alt.Y("position:Q", axis=None, scale=alt.Scale(domain=[UNUSED - 0.04, 1.08], nice=False))
    records = lines(values, points, found)
    base = alt.Chart(_data(alt, records))
    state = [
        alt.Tooltip(f"{name}:N", title=title)
        for name, title in (("candidate", "candidate"), ("runtime", "runtime"), ("axis", "axis"), ("value", "value"))
    ]
    strong = "datum.state == 'on the front'"
    drawn = base.mark_line(strokeWidth=1.4, aria=False).encode(
        x=x, y=y, detail="key:N", color=tradeoff.color_of(alt, points, dark=dark), tooltip=state,
        opacity=alt.condition(strong, alt.value(0.95), alt.value(0.3)),
    )  # fmt: skip
    best = base.transform_filter("datum.chosen").mark_line(strokeWidth=3, stroke=ink, aria=False)
    grid = [{"axis": axis.title, "position": -0.01, "top": 1} for axis in found]
    ticks = [{"axis": a.title, "position": at, "text": text} for a in found for at, text in a.ticks()]
    unused = dict.fromkeys(r["axis"] for r in records if r["position"] == UNUSED)
    ticks += [{"axis": title, "position": UNUSED, "text": "not used"} for title in unused]
    rules = alt.Chart(_data(alt, grid)).mark_rule(stroke="#888888", aria=False).encode(x=x, y=y, y2="top:Q")
    words = alt.Chart(_data(alt, ticks)).mark_text(
        align="left", dx=5, dy=-7, fontSize=11, fill=ink, aria=False, stroke="#161616" if dark else "#ffffff",
        strokeWidth=3, strokeOpacity=0.75,
    )  # fmt: skip
    front = alt.Chart(_data(alt, ticks)).mark_text(align="left", dx=5, dy=-7, fontSize=11, fill=ink, aria=False)
    return alt.layer(
        drawn, best.encode(x=x, y=y, detail="key:N"), rules, words.encode(x=x, y=y, text="text:N"),
        front.encode(x=x, y=y, text="text:N"),
    ).properties(width=width, height=height, description=summary(points, found))  # fmt: skip


def _data(alt: Any, rows: list[dict[str, Any]]) -> Any:
    return alt.Data(values=rows)


def summary(points: Sequence[Mapping[str, Any]], found: Sequence[Axis]) -> str:
    """The chart in a sentence, for screen readers."""
    if not points:
        return "Settings of candidates, none measured yet."
    count = f"{len(points)} candidates" if len(points) > 1 else "1 candidate"
    best = next((p for p in points if p["chosen"]), None)
    said = f" The thick line is {best['candidate']} on {best['runtime']}." if best else ""
    return f"Settings of {count} as lines over {', '.join(axis.title for axis in found)}.{said}"

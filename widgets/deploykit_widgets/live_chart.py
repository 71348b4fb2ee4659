"""The trade-off chart of a running sweep: one view whose data are replaced in place.

Compute, then draw: `frame` and `layers_data` give plain rows; `chart_spec` says how they look. Altair takes seconds to
import on a busy machine, so it is imported when there is something to draw.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from deploykit.core.registry import registry
from deploykit.reporting import tradeoff

WIDTH, HEIGHT = 600, 320
POINTS, FRAME, MARKS = "points", "frame", "marks"
PICK = "pick"
FAMILIES = {
    "original": "circle",
    "quantize": "square",
    "prune": "triangle-up",
    "prune + quantize": "diamond",
    "other": "cross",
}
_TICKS = [round(m * 10.0**e, 6) for e in range(-4, 7) for m in (1, 2, 3, 5)]
#: A point this many times further from zero than nine tenths of the others is off scale.
_FAR = 4.0


def runtime_names() -> tuple[str, ...]:
    """Runtimes in registry order: the order of their colors."""
    return registry("deploykit.runtimes", "runtime").names()


def color_of(runtime: str) -> int:
    """Place of a runtime's color in the palette; all beyond it share the last."""
    names = runtime_names()
    place = names.index(runtime) if runtime in names else len(names)
    return min(place, len(tradeoff.LIGHT) - 1)


def frame(points: Sequence[dict[str, Any]], field: str, limit: float | None) -> dict[str, Any]:
    """What the axes must show.

    Args:
        points: Rows of `tradeoff.points`.
        field: Column of the horizontal axis.
        limit: Lowest change that is allowed, None when there is no limit to draw.

    Returns:
        ``x_low x_high y_low y_high``, ``ticks`` of the horizontal axis, and ``off``: keys of points beyond it.
    """
    if not points:
        return {"x_low": 0.1, "x_high": 1.0, "y_low": -2.0, "y_high": 0.5, "ticks": [], "off": []}
    distances = sorted(abs(p["change"]) for p in points)
    usual = max(distances[max(0, math.ceil(0.9 * len(distances)) - 1)], abs(limit or 0.0), 0.1)
    inside = [p for p in points if abs(p["change"]) <= _FAR * usual or p["is_baseline"]]
    strong = [p for p in inside if p["state"] == "on the front" or p["chosen"]]
    changes = [p["change"] for p in inside] + [0.0, 1.3 * limit if limit is not None else 0.0]
    room = 2 * max(map(abs, changes))
    ends = [max(-room, min(room, p[end])) for p in strong for end in ("change_low", "change_high")]
    low, high = min(changes + ends), max(changes + ends)
    pad = 0.06 * ((high - low) or 1.0)
    values = [p[field] for p in inside if p[field] > 0] or [1.0]
    spread = max(math.log(max(values) / min(values)), 0.2)
    x_low, x_high = min(values) * math.exp(-0.1 * spread), max(values) * math.exp(0.1 * spread)
    return {
        "x_low": x_low,
        "x_high": x_high,
        "y_low": low - pad,
        "y_high": high + pad,
        "ticks": _ticks(x_low, x_high),
        "off": [p["key"] for p in points if p not in inside],
    }


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers on a logarithmic axis; finer ones when few fit."""
    found = [t for t in _TICKS if low <= t <= high]
    if len(found) >= 3:
        return found
    step = 10.0 ** math.floor(math.log10((high - low) / 2))
    first = math.ceil(low / step)
    return [round(i * step, 9) for i in range(first, math.floor(high / step) + 1)][:12]


def layers_data(
    points: Sequence[dict[str, Any]], shown: str, field: str, limit: float | None, unit: str
) -> dict[str, list[dict[str, Any]]]:
    """Rows of the chart's named datasets.

    Args:
        points: Rows of `tradeoff.points`.
        shown: Key of the candidate that the panels show: ``A``.
        field: Column of the horizontal axis.
        limit: See `frame`.
        unit: Unit of the change: ``"pp"`` or ``"%"``.
    """
    found = frame(points, field, limit)
    off = set(found.pop("off"))
    rows = [{**p, "x": p[field], "shown": p["key"] == shown} for p in points if p["key"] not in off and p[field] > 0]
    marks: list[dict[str, Any]] = [
        {"kind": "baseline", "x": p["x"], "y": 0.0, "text": "baseline"} for p in rows if p["is_baseline"]
    ]
    if limit is not None and points:
        words = f"your limit, {limit:.1f} {unit}".replace("-", "−")
        marks.append({"kind": "limit", "y": limit, "text": words})
    return {POINTS: rows, FRAME: [found], MARKS: marks}


class LiveChart:
    """One chart in the browser.

    The browser keeps the data, not the widget's state. So the current rows are sent again whenever a view appears:
    after a reload, or in a second output.

    Args:
        x_title: Title of the horizontal axis.
        y_title: Title of the vertical axis.
        rows: What `layers_data` gave, to begin with.
        bars_across: Whether points have intervals across, too.
        on_pick: Called with the key of a clicked candidate.
    """

    def __init__(
        self,
        x_title: str,
        y_title: str,
        rows: dict[str, list[dict[str, Any]]],
        on_pick: Callable[[str], None],
        *,
        bars_across: bool = True,
    ) -> None:
        import altair as alt

        from deploykit_widgets.chart_spec import specification

        alt.JupyterChart.enable_offline()
        self._on_pick = on_pick
        self._serial = itertools.count()
        self._rows: dict[str, list[dict[str, Any]]] = rows
        self._titles = (x_title, y_title, bars_across)
        self.widget = alt.JupyterChart(
            specification(x_title, y_title, rows, bars_across=bars_across),
            embed_options={"renderer": "svg", "actions": False},
        )
        self.widget.observe(self._from_browser, names="_vl_selections")

    def title(self, x_title: str, y_title: str, *, bars_across: bool) -> None:
        """Change what the axes say; draws the chart anew when it is something else."""
        if (x_title, y_title, bars_across) != self._titles:
            from deploykit_widgets.chart_spec import specification

            self._titles = (x_title, y_title, bars_across)
            self.widget.chart = specification(x_title, y_title, self._rows, bars_across=bars_across)

    def put(self, rows: dict[str, list[dict[str, Any]]]) -> None:
        """Replace the data in place: what is zoomed, hovered or selected stays."""
        if rows != self._rows:
            self._rows = rows
            self.send()

    def send(self) -> None:
        """Send all rows; the serial number makes it a new message even when nothing has changed."""
        if self._rows:
            number = next(self._serial)
            self.widget._py_to_js_updates = [
                {"namespace": "data", "name": name, "scope": [], "value": rows, "serial": number}
                for name, rows in self._rows.items()
            ]

    def _from_browser(self, change: Any) -> None:
        """A click, or a view that has just appeared and holds no data."""
        value = (change["new"].get(PICK) or {}).get("value")
        if value is None:
            return  # our own reset
        # Without the reset a second click on the same point would be no change, and a new view would say nothing.
        self.widget._vl_selections = {PICK: {"value": None, "store": []}}
        keys = value.get("key") if isinstance(value, dict) else None
        if keys:
            self._on_pick(str(keys[0]))
        else:
            self.send()

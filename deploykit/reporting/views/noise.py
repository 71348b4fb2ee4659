"""How noise grows along a graph: what each node adds, and what of the signal is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from deploykit.core.errors import CandidateError
from deploykit.measuring.graphs.diff import NodeDiff
from deploykit.reporting.views.graph_view import ending
from deploykit.reporting.views.tradeoff import DARK, LIGHT

#: Nodes that are listed by name.
_NAMED = 8


def noise_rows(rows: Sequence[NodeDiff]) -> list[dict[str, Any]]:
    """What is drawn: one record for each tensor that is not exactly what it was, in order."""
    found: list[dict[str, Any]] = []
    for row in rows:
        if not row.error or row.own_error is None or not math.isfinite(row.error):
            continue
        low, high = row.after_range or (None, None)
        found.append(
            {
                "place": len(found), "node": _called(row), "operator": row.node.operator, "state": row.state,
                "snr": row.snr_db, "error": 100 * row.error, "own": 100 * row.own_error, "low": low, "high": high,
                "saturated": None if row.saturated is None else 100 * row.saturated,
            }
        )  # fmt: skip
    return found


def _called(row: NodeDiff) -> str:
    """A node by the end of its name; what quantizers put behind it says no more than their operator."""
    name = ending(row.node.name).removesuffix("_QuantizeLinear").removesuffix("_DequantizeLinear")
    return f"{row.node.operator} {name}"


def noise_chart(rows: Sequence[NodeDiff], caption: str, *, dark: bool = False, width: int = 560) -> Any:
    """The chart as an Altair object; see `noise_rows` for its data.

    Raises:
        CandidateError: No tensor differs.
    """
    import altair as alt

    data = noise_rows(rows)
    if not data:
        raise CandidateError(
            "No tensor differs from the original's, as far as they could be compared.",
            remedy="graph_diff().notes says what was compared.",
        )
    palette = DARK if dark else LIGHT
    values: Any = alt.Data(values=data)  # type: ignore[no-untyped-call]
    tips = [
        alt.Tooltip("node:N"), alt.Tooltip("operator:N"), alt.Tooltip("state:N"),
        alt.Tooltip("snr:Q", title="SNR, dB", format=".1f"), alt.Tooltip("error:Q", title="error, %", format=".3~g"),
        alt.Tooltip("own:Q", title="comes in here, %", format=".3~g"),
        alt.Tooltip("low:Q", title="lowest", format=".4~g"), alt.Tooltip("high:Q", title="highest", format=".4~g"),
        alt.Tooltip("saturated:Q", title="saturated, %", format=".3~g"),
    ]  # fmt: skip
    line = alt.Chart(values).encode(
        x=alt.X("place:Q", title="nodes, in the order in which they run", axis=alt.Axis(labels=False, ticks=False)),
        y=alt.Y("snr:Q", title="SNR, dB", scale=alt.Scale(zero=False)),
    )
    signal = line.mark_line(color=palette[0]) + line.mark_circle(color=palette[0], size=40, opacity=1).encode(
        tooltip=tips
    )
    worst = sorted((row for row in data if row["own"]), key=lambda row: -row["own"])[:_NAMED]
    listed: Any = alt.Data(values=worst)  # type: ignore[no-untyped-call]
    bars = alt.Chart(listed).mark_bar(color=palette[1])
    added = bars.encode(
        x=alt.X("own:Q", title="error that comes in here, %"),
        y=alt.Y("node:N", title=None, sort=None, axis=alt.Axis(labelLimit=320)),
        tooltip=tips,
    )
    return alt.vconcat(signal.properties(width=width, height=140), added.properties(width=width)).properties(
        title=caption,
        description=f"Signal-to-noise ratio of {len(data)} tensors in order, {data[-1]['snr']:.1f} dB at the last; "
        f"most of the error comes in at {worst[0]['node']}: {worst[0]['own']:.2g} %.",
    )

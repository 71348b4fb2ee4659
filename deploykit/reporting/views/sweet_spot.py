"""The sweet spot of a trade-off: the best candidate that stays within the user's limit, marked by a star."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: A star with five points, as Vega's symbols are given: in a square of two by two.
STAR = (
    "M0,-1L0.2245,-0.309L0.9511,-0.309L0.3633,0.118L0.5878,0.809L0,0.382L-0.5878,0.809L-0.3633,0.118"
    "L-0.9511,-0.309L-0.2245,-0.309Z"
)
#: Its color on light and on dark grounds; its outline is in the color of text, so that it stands out from both.
GOLD = "#F5B800"


def words(limit: str) -> str:
    """What the star means, for the legend: ``best within 1.0 pp``."""
    return f"best within {limit}"


def layers(alt: Any, points: Sequence[dict[str, Any]], text: str, x_axis: Any, y_axis: Any, ink: str) -> list[Any]:
    """A star beside the chosen point, with its entry in the legend; nothing where none is chosen.

    Args:
        alt: Altair.
        points: See `deploykit.reporting.views.tradeoff.points`.
        text: What the legend says.
        x_axis: The chart's horizontal channel.
        y_axis: The chart's vertical channel.
        ink: Color of its outline.
    """
    chosen = [{**point, "sweet": text} for point in points if point["chosen"]]
    if not chosen:
        return []
    legend = alt.Legend(
        title="sweet spot", symbolType=STAR, symbolFillColor=GOLD, symbolStrokeColor=ink, symbolSize=110
    )
    star = alt.Chart(alt.Data(values=chosen)).mark_point(
        shape=STAR, size=130, fill=GOLD, stroke=ink, strokeWidth=1, strokeJoin="round", xOffset=13, yOffset=-12,
        aria=False,
    )  # fmt: skip
    scale = alt.Scale(domain=[text], range=[1])
    return [star.encode(x=x_axis, y=y_axis, opacity=alt.Opacity("sweet:N", scale=scale, legend=legend))]

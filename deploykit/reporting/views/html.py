"""Pictures of charts in HTML, which need no network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deploykit.reporting.views.drawing import picture

#: Pictures for light or dark pages in a notebook.
THEMED = """
.dk-report .dk-dark{display:none}
body[data-jp-theme-light="false"] .dk-report .dk-light{display:none}
body[data-jp-theme-light="false"] .dk-report .dk-dark{display:inline}
"""


def pictures(draw: Callable[[bool], Any], before: str = "", **legend: Any) -> str:
    """A chart for light and for dark pages.

    Args:
        draw: Makes the chart, for a dark background or not.
        before: What is read out before the description of the light one.
        legend: Where its legend stands, as Altair's ``configure_legend`` takes it.
    """
    found = []
    text = ""
    for name, dark in (("dk-light", False), ("dk-dark", True)):
        chart = draw(dark)
        text = text or f"{before}{chart.description}"
        found.append(picture(chart.to_dict(), text, name, dark=dark, legend=legend))
    return "".join(found)

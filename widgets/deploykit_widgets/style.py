"""The style sheet: JupyterLab's variables with fallbacks, everything below one class."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from deploykit.reporting import tradeoff

_DARK = '[data-jp-theme-light="false"] .dk-Workbench'


@cache
def stylesheet() -> str:
    """CSS of the Workbench, with the colors of the runtimes for both themes."""
    text = files("deploykit_widgets").joinpath("workbench.css").read_text("utf-8")
    both = zip(tradeoff.LIGHT, tradeoff.DARK, strict=True)
    return text + "".join(_colors(place, light, dark) for place, (light, dark) in enumerate(both))


def _colors(place: int, light: str, dark: str) -> str:
    """A runtime's color in legends and tables, and in the chart.

    The chart is drawn in the light theme's colors, as attributes. CSS wins over attributes, so the dark theme's
    colors need no new drawing and follow the theme at once.
    """
    rules = [f".dk-Workbench .dk-c{place}{{color:{light}}}", f"{_DARK} .dk-c{place}{{color:{dark}}}"]
    drawn = f"{_DARK} .vega-embed svg"
    rules += [f'{drawn} [{name}="{light}" i]{{{name}:{dark}}}' for name in ("stroke", "fill")]
    return "".join(rules)

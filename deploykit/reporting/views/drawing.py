"""Charts that show themselves without a network.

What a notebook shows of an Altair chart loads a library from the network, and nothing where there is none. Here the
picture is drawn when the cell runs: it stays in saved notebooks, in pages made of them, and offline. Beside it is the
chart itself, under a type of our own, for which our extension of JupyterLab brings what draws it.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping
from typing import Any

from deploykit.reporting.views.tradeoff import DARK, LIGHT

#: Type of the chart in outputs. Not Vega-Lite's own: JupyterLab would take that, and load what it lacks.
MIME_TYPE = "application/vnd.deploykit.vegalite.v6+json"
#: Where marks are, in pixels: a hundredth of one is enough, and with thousands of marks half of the size.
_PLACES = re.compile(r'\b(?:transform|d|x2|y2)="[^"]*"')
_DIGITS = re.compile(r"(\.\d\d)\d+")


class _Shown:
    """Mixed into an Altair chart: shown as a picture, and by our extension as a chart."""

    def _repr_mimebundle_(self, *_args: Any, **_options: Any) -> dict[str, Any]:
        spec = self.to_dict()  # type: ignore[attr-defined]  # Altair's
        return {
            MIME_TYPE: spec | {"usermeta": {"deploykit": {"dark": _DARK_INSTEAD}}},
            "image/svg+xml": svg(self),
            "text/plain": spec.get("description", "") or repr(self),
        }


#: The colors that take the place of a chart's own where the theme is dark.
_DARK_INSTEAD = dict(zip(LIGHT, DARK, strict=True)) | {"#000000": "#ffffff"}


def shown(chart: Any) -> Any:
    """The Altair chart, and all charts that are made from it, shown without the network in notebooks."""
    object.__setattr__(chart, "__class__", _kind(type(chart)))
    return chart


def svg(chart: Any) -> str:
    """An Altair chart as SVG; needs no network."""
    return svg_of(chart.to_dict())


def svg_of(spec: Mapping[str, Any]) -> str:
    """The same of a Vega-Lite specification."""
    import vl_convert

    return _PLACES.sub(lambda found: _DIGITS.sub(r"\1", found[0]), vl_convert.vegalite_to_svg(dict(spec)))


def in_dark(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A Vega-Lite specification with the colors for dark pages in place of those for light ones."""
    either = re.compile("|".join(map(re.escape, _DARK_INSTEAD)), re.IGNORECASE)
    instead = {light.lower(): dark for light, dark in _DARK_INSTEAD.items()}
    found: dict[str, Any] = json.loads(either.sub(lambda color: instead[color[0].lower()], json.dumps(spec)))
    return found


def picture(spec: Mapping[str, Any], text: str, name: str, *, dark: bool, legend: Mapping[str, Any]) -> str:
    """A Vega-Lite specification as an image in HTML, without a background of its own.

    Args:
        spec: The chart.
        text: What it shows, for screen readers.
        name: Class of the image.
        dark: Whether the page behind it is dark.
        legend: Where its legend stands, as Altair's ``configure_legend`` takes it.
    """
    ink = (
        {"labelColor": "#dddddd", "titleColor": "#dddddd"}
        if dark
        else {"labelColor": "#222222", "titleColor": "#222222"}
    )
    settings = {
        "view": {"stroke": "#888888", "strokeOpacity": 0.4},
        "axis": {**ink, "gridColor": "#888888", "gridOpacity": 0.25},
        "legend": {**ink, **legend},
        "text": {"color": ink["titleColor"]},
        "title": {"color": ink["titleColor"]},
    }
    config = dict(spec.get("config", {}))
    config |= {part: {**config.get(part, {}), **values} for part, values in settings.items()}
    data = base64.b64encode(svg_of({**spec, "background": "transparent", "config": config}).encode()).decode()
    return f'<img class="{name}" alt="{html.escape(text, quote=True)}" src="data:image/svg+xml;base64,{data}">'


#: Altair's class → the same with a picture.
_kinds: dict[type, type] = {}


def _kind(cls: type) -> type:
    if issubclass(cls, _Shown):
        return cls
    if cls not in _kinds:
        _kinds[cls] = type(cls.__name__, (_Shown, cls), {"__module__": cls.__module__})
    return _kinds[cls]

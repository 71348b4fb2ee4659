"""Charts that show themselves without a network.

What a notebook shows of an Altair chart loads a library from the network, and nothing where there is none. Here the
picture is drawn when the cell runs: it stays in saved notebooks, in pages made of them, and offline. Beside it is the
chart itself, under a type of our own, for which our extension of JupyterLab brings what draws it.
"""

from __future__ import annotations

import re
from typing import Any

from deploykit.reporting.tradeoff import DARK, LIGHT

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


def svg_of(spec: dict[str, Any]) -> str:
    """The same of a Vega-Lite specification."""
    import vl_convert

    return _PLACES.sub(lambda found: _DIGITS.sub(r"\1", found[0]), vl_convert.vegalite_to_svg(spec))


#: Altair's class → the same with a picture.
_kinds: dict[type, type] = {}


def _kind(cls: type) -> type:
    if issubclass(cls, _Shown):
        return cls
    if cls not in _kinds:
        _kinds[cls] = type(cls.__name__, (_Shown, cls), {"__module__": cls.__module__})
    return _kinds[cls]

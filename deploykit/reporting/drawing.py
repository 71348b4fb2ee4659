"""Charts that show themselves without a network.

What a notebook shows of an Altair chart loads a library from the network, and nothing where there is none. Here the
picture is drawn when the cell runs: it stays in saved notebooks, in pages made of them, and offline.
"""

from __future__ import annotations

from typing import Any


class _Shown:
    """Mixed into an Altair chart: shown as a picture."""

    def _repr_mimebundle_(self, *_args: Any, **_options: Any) -> dict[str, Any]:
        description = self.to_dict().get("description", "")  # type: ignore[attr-defined]  # Altair's
        return {"image/svg+xml": svg(self), "text/plain": description or repr(self)}


def shown(chart: Any) -> Any:
    """The Altair chart, and all charts that are made from it, shown as pictures in notebooks."""
    object.__setattr__(chart, "__class__", _kind(type(chart)))
    return chart


def svg(chart: Any) -> str:
    """An Altair chart as SVG; needs no network."""
    import vl_convert

    return str(vl_convert.vegalite_to_svg(chart.to_dict()))


#: Altair's class → the same with a picture.
_kinds: dict[type, type] = {}


def _kind(cls: type) -> type:
    if issubclass(cls, _Shown):
        return cls
    if cls not in _kinds:
        _kinds[cls] = type(cls.__name__, (_Shown, cls), {"__module__": cls.__module__})
    return _kinds[cls]

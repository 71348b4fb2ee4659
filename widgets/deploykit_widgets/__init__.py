"""The notebook user interface of deploykit and its JupyterLab extension.

Importing the package loads nothing heavy: a Jupyter server imports it for the extension alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deploykit_widgets.alone import CandidateView, DataView, ModelView, TradeOff
    from deploykit_widgets.surface import Surface
    from deploykit_widgets.workbench import Workbench

__all__ = ["CandidateView", "DataView", "ModelView", "Surface", "TradeOff", "Workbench"]

_HOMES = {
    "CandidateView": "deploykit_widgets.alone",
    "DataView": "deploykit_widgets.alone",
    "ModelView": "deploykit_widgets.alone",
    "Surface": "deploykit_widgets.surface",
    "TradeOff": "deploykit_widgets.alone",
    "Workbench": "deploykit_widgets.workbench",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    from deploykit.core.extras import require

    require("ipywidgets", "jupyter")  # a missing package is named with its pip line, not by a bare ImportError
    return getattr(importlib.import_module(_HOMES[name]), name)


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """Where a Jupyter server finds the extension."""
    return [{"module": "deploykit_widgets.server.extension"}]

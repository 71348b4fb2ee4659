"""The notebook user interface of deploykit, and what brings it into JupyterLab.

Importing the package loads nothing heavy: a Jupyter server imports it for the extension alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deploykit_widgets.workbench import Workbench

__all__ = ["Workbench"]


def __getattr__(name: str) -> Any:
    if name != "Workbench":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from deploykit.core.extras import require

    require("ipywidgets", "jupyter")  # a missing package is named with its pip line, not by a bare ImportError
    from deploykit_widgets.workbench import Workbench

    return Workbench


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """Tell a Jupyter server where the extension is."""
    return [{"module": "deploykit_widgets.server_extension"}]

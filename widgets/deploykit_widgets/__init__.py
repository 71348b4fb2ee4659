"""The notebook user interface of deploykit."""

from __future__ import annotations

from deploykit.core.extras import require

require("ipywidgets", "jupyter")  # a missing package is named with its pip line, not by a bare ImportError

from deploykit_widgets.workbench import Workbench  # noqa: E402  the check comes first

__all__ = ["Workbench"]

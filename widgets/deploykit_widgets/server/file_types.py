"""The files that JupyterLab takes for models: what the formats declare, and what Netron can draw of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from deploykit_widgets.endings import formats
from deploykit_widgets.server import netron_app

#: Of the page's configuration, which JupyterLab's page has before any extension starts.
OPTION = "deploykitFiles"


def page_option() -> str:
    """See ``IModelFiles`` in filetypes.ts."""
    drawn = netron_app.endings()
    return json.dumps({"drawn": sorted(drawn), "types": [t for form in formats() for t in _types(form, drawn)]})


def _types(form: Any, drawn: frozenset[str]) -> Iterator[dict[str, Any]]:
    """Types of files of one format; each has a name, by which the file browser's menu finds it."""
    own = [s for s in form.suffixes if s not in form.shared_suffixes]
    for name, endings, has_graph in (
        ("", [s for s in own if s in drawn], True),
        ("-undrawn", [s for s in own if s not in drawn], False),
        # Those that cannot be drawn are most likely something else, as TypeScript.
        ("-shared", [s for s in form.shared_suffixes if s in drawn], True),
        ("-beside", [s for s in form.companions if s in drawn], True),
    ):
        if endings:
            yield {
                "name": f"deploykit-{form.name}{name}",
                "label": form.label,
                "extensions": endings,
                "hasGraph": has_graph,
                "isDefault": has_graph and name != "-shared",
                "isModel": name != "-beside",
            }

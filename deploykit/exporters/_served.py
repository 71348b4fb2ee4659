"""What layouts say that deploykit's own server runs: how it is asked, and by which Python it was measured."""

from __future__ import annotations

import sys

from deploykit.exporters._contract import Draft
from deploykit.measuring.exportable import Exportable

_QUERY = """\
## Query it

The server speaks TensorFlow Serving's REST protocol and the Open Inference Protocol v2, and takes raw examples: it
does the preprocessing itself.

    curl -d '{{"{key}": [...]}}' http://127.0.0.1:8501/v1/models/{name}:predict
    curl http://127.0.0.1:8501/v2/models/{name}
"""


def query(candidate: Exportable, draft: Draft) -> str:
    """The README's part about sending requests."""
    needed = candidate.data.checked.asked
    return _QUERY.format(name=draft.name, key="instances" if len(needed) == 1 else "inputs")


def python() -> str:
    """The Python version that the candidate was measured with, as names of images have it."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"

"""The notebook that makes a candidate: the one that comes with deploykit, or the user's."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploykit.core.headless import execute

#: What a notebook is given; a user's own may leave out what it does not need.
OWN = Path(__file__).with_name("update.ipynb")


def run(notebook: Path | None, output: Path, values: Mapping[str, Any]) -> None:
    """Run it with papermill.

    Args:
        notebook: The user's; None: deploykit's own.
        output: Where the executed notebook is kept.
        values: Its parameters.

    Raises:
        DeploykitError: A cell failed; names the error and the executed notebook.
    """
    execute(notebook or OWN, output, dict(values), cwd=output.parent, stream=sys.stderr)

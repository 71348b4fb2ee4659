"""Build the site: ``make docs``, or ``python -m docs.tools.site``. Needs no network.

With ``--keep`` only notebooks without a page are executed: for work on the text, while the code changes as well.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from docs.tools import notebooks

DOCS = Path(__file__).parents[1]
HTML = DOCS / "_build" / "html"


def build(*, keep: bool = False) -> int:
    """Execute the notebooks whose pages are missing or stale, then build; warnings are errors.

    Args:
        keep: Whether stale pages are good enough.

    Returns:
        Sphinx's exit status.
    """
    for name in notebooks.SMALL:
        if notebooks.stale(name) and not (keep and (notebooks.PAGES / f"{name}.ipynb").is_file()):
            print(f"executing notebooks/{name}.ipynb", flush=True)
            with notebooks.executed(name):
                pass
    flags = ["-b", "html", "-q", "-W", "--keep-going", "-j", "auto", "-E", "-d", str(DOCS / "_build" / "doctrees")]
    command = [sys.executable, "-m", "sphinx", *flags, str(DOCS), str(HTML)]
    return subprocess.run(command, cwd=DOCS.parent, check=False).returncode


if __name__ == "__main__":
    status = build(keep="--keep" in sys.argv[1:])
    if status == 0:
        print(f"built {HTML / 'index.html'}")
    sys.exit(status)

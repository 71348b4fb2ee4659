"""``deploykit lab``: JupyterLab with the Workbench notebook."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from deploykit.cli._shared import notebooks
from deploykit.cli._shared.show import note, show
from deploykit.core.extras import require

HELP = "Open JupyterLab on the Workbench notebook. The notebook and its data are copied here; nothing is overwritten."
_NOTEBOOK = "02_workbench.ipynb"
_NEEDS = ("data/fashion-mnist.npz", "models/fashion_cnn.keras", "models/fashion_cnn.onnx")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--folder", default=".", help="folder to work in (default: the current folder)")
    parser.add_argument("--no-start", action="store_true", help="copy only")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser; print the address only")
    parser.add_argument("jupyter", metavar="ARGUMENT", nargs="*", help="passed to jupyter lab, after --")


def run(options: argparse.Namespace) -> int:
    """Run the verb."""
    if not options.no_start:
        require("jupyterlab", "jupyter")
    folder = Path(options.folder).absolute()
    copied = [name for name in (_NOTEBOOK, *_NEEDS) if _copy(name, folder)]
    for name in copied:
        note(options, f"copied {folder / name}")
    # The notebook as the start page: the printed address leads to it as the opened browser does.
    page = f"--LabApp.default_url=/lab/tree/{_NOTEBOOK}"
    server = f"--ServerApp.root_dir={folder}"
    command = [sys.executable, "-m", "jupyterlab", server, page, *_root(), *_browser(options), *options.jupyter]
    show(options, f"opening {folder / _NOTEBOOK}", {"notebook": folder / _NOTEBOOK, "copied": copied})
    if options.no_start:
        return 0
    sys.stdout.flush()
    return subprocess.call(command, cwd=folder)  # noqa: S603  our own interpreter


def _browser(options: argparse.Namespace) -> list[str]:
    return ["--no-browser"] if options.no_browser else []


def _root() -> list[str]:
    """In containers the user is root, which Jupyter refuses without --allow-root."""
    return ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []


def _copy(name: str, folder: Path) -> bool:
    target = folder / name
    if target.exists():
        return False
    source = notebooks.find(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return True

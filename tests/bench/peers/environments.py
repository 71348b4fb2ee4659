"""Environments of their own for what cannot be installed beside deploykit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path


def made(folder: Path, packages: Iterable[str]) -> Path:
    """An environment with some packages; made once, and again if it was not completed."""
    if not (folder / "complete").exists():
        print(f"making an environment for {folder.name}, once", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True)
        (folder / "complete").touch()
    return folder

"""Paths of data: what may be opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from deploykit.core.errors import DatasetError


def present(path: Path, *, folder: bool = False) -> None:
    """Raise `DatasetError` unless a regular file, or a folder, is there and may be read."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise DatasetError(f"There are no data at {str(path)!r}.", remedy="check the path.") from None
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{path} cannot be opened: {error}.", remedy="check the path and its permissions."
        ) from error
    if not folder and not stat.S_ISREG(mode):
        raise DatasetError(f"{path} is not a regular file.", remedy="give the path of a file.")
    if folder and not stat.S_ISDIR(mode):
        raise DatasetError(f"{path} is not a folder.", remedy="give a folder with one sub-folder per class.")
    if not os.access(path, os.R_OK | (os.X_OK if folder else 0)):
        raise DatasetError(f"{path} cannot be read: permission denied.", remedy="change its permissions.")


def shown(names: Iterable[object], most: int = 5) -> str:
    """The first few of some names."""
    found = [str(n) for n in names]
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")

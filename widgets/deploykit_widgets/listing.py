"""Files and folders that can be chosen on the machine that runs the kernel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploykit.core.errors import SettingError
from deploykit_widgets.code.script import shown_path

_MOST_ENTRIES = 500
_SAVED_MODEL = "saved_model.pb"

#: Whether a file can be chosen.
Wanted = Callable[[Path], bool]


def listing(folder: str, wanted: Wanted, *, take_models: bool = False) -> dict[str, Any]:
    """List folders, and the files that are wanted.

    Args:
        folder: The folder to list; "" is the working folder of the kernel.
        wanted: Which files to show.
        take_models: Whether folders that hold a SavedModel are chosen rather than opened.

    Raises:
        SettingError: The path is not a folder, or cannot be read.
    """
    place = Path(folder).expanduser() if folder else Path.cwd()
    try:
        place = place.resolve(strict=True)
        found = sorted(place.iterdir(), key=lambda p: p.name.lower())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SettingError(f"{place} cannot be listed: {reason}.", remedy="choose another folder.") from error
    shown = [e for p in found if (e := _entry(p, wanted, take_models=take_models)) is not None]
    shown.sort(key=lambda e: e["kind"] != "folder")
    return {
        "folder": str(place),
        "words": shown_path(place),
        "parent": "" if place.parent == place else str(place.parent),
        "entries": shown[:_MOST_ENTRIES],
        "more": max(0, len(shown) - _MOST_ENTRIES),
    }


def _entry(path: Path, wanted: Wanted, *, take_models: bool) -> dict[str, Any] | None:
    if path.name.startswith((".", "__")):
        return None
    try:
        if path.is_dir():
            kind = "model" if take_models and (path / _SAVED_MODEL).is_file() else "folder"
            return {"name": path.name, "path": shown_path(path), "kind": kind, "size": None}
        if path.is_file() and wanted(path):
            return {"name": path.name, "path": shown_path(path), "kind": "file", "size": path.stat().st_size}
    except OSError:  # it went away, or may not be looked at
        return None
    return None

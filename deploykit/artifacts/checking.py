"""Whether the files of an artifact are those that its manifest says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from deploykit.core.digest import file_digest

_MANIFEST = "manifest.json"
#: Most bytes of any file of an artifact.
_MOST_FILE_BYTES = 16 << 30


def problems(
    folder: Path, model: str, golden: tuple[str, str], files: Mapping[str, str], fixed: Mapping[str, str]
) -> list[str]:
    """Files that are missing, changed or (in the model's folder) new since the export, one sentence each.

    Args:
        folder: The artifact's folder.
        model: Relative path of its model.
        golden: Relative paths of its golden data.
        files: Relative path → SHA-256 of all files but the manifest.
        fixed: Relative path → SHA-256 of the files that must be as they were.
    """
    found = []
    for name, digest in fixed.items():
        file = folder / name
        if not file.is_file():  # a pipe or a device is none
            found.append(f"{name} is missing{', or not a regular file' if os.path.lexists(file) else ''}.")
        elif (size := file.stat().st_size) > _MOST_FILE_BYTES:
            found.append(f"{name} claims {size:,} bytes; the limit is {_MOST_FILE_BYTES:,}.")
        elif file_digest(file) != digest:
            found.append(f"{name} has changed since the export (its SHA-256 differs from the manifest's).")
    if model not in files:
        found += [f"{n} was not there at the export." for n in files_of(folder, model) if n not in files]
    for name in (model, *golden):
        if not any(f == name or f.startswith(f"{name}/") for f in fixed):
            found.append(f"{_MANIFEST} gives no digest of {name}.")
    return found


def files_of(folder: Path, below: str = "") -> list[str]:
    """Relative paths, with forward slashes, of the files of a folder (or of a folder in it), sorted."""
    return sorted(p.relative_to(folder).as_posix() for p in (folder / below).rglob("*") if not p.is_dir())


def is_inside(name: str) -> bool:
    """Whether a relative path stays inside its folder, on any system."""
    path = PurePosixPath(name)
    inside = bool(path.parts) and not path.is_absolute() and ".." not in path.parts
    return inside and ":" not in path.parts[0] and "\\" not in name  # Windows' drives and separators

"""What formats need to keep a model that lives in this process as a file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from deploykit.core.digest import json_digest, path_digest
from deploykit.core.files import cache_folder


def classes(thing: object) -> frozenset[tuple[str, str]]:
    """Package and name of an object's class and of those it derives from: they are known without importing anything."""
    return frozenset((kind.__module__.partition(".")[0], kind.__name__) for kind in type(thing).__mro__)


def keep(suffix: str, write: Callable[[Path], object], companions: Sequence[str] = ()) -> Path:
    """Write a model into the cache folder, under the name of its content: equal models share a file.

    Args:
        suffix: Ending of the name, with the dot; "" for folders.
        write: Makes the file or folder at the path it is given; it may use the folder around it for other files.
        companions: Endings of files of the same name that belong to it; they are kept where it makes them.
    """
    folder = cache_folder() / "models"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as work:
        made = Path(work, f"model{suffix}")
        write(made)
        parts = [part for ending in companions if (part := made.with_suffix(ending)).is_file()]
        digest = json_digest([path_digest(file) for file in (made, *parts)]) if parts else path_digest(made)
        target = folder / f"{digest[:32]}{suffix}"
        if not target.exists():
            for part in parts:
                os.replace(part, target.with_suffix(part.suffix))  # noqa: PTH105  atomic on every system
            os.replace(made, target)  # noqa: PTH105  atomic on every system
    return target

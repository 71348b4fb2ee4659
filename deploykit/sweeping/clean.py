"""Free what no row of a store needs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from deploykit.core.digest import path_size
from deploykit.core.serial import Plain
from deploykit.core.store import Store


@dataclass(frozen=True)
class Cleaned(Plain):
    """What was removed.

    Attributes:
        removed: Paths relative to the store.
        freed_bytes: Their size.
    """

    removed: tuple[str, ...]
    freed_bytes: int

    def __str__(self) -> str:
        return f"removed {len(self.removed)} files and folders, freed {self.freed_bytes / 1e6:.1f} MB"


def clean(store: str | Path) -> Cleaned:
    """Remove artifacts of intermediate steps, unfinished files and logs that no row names.

    A later sweep builds intermediate artifacts again when it needs them.

    Raises:
        StoreError: No store, or a sweep is running on it.
    """
    opened = Store(store)
    removed, freed = [], 0
    with opened.writer():
        keep = _needed(opened)
        for folder in ("steps", "logs", "data"):
            for path in sorted((opened.path / folder).glob("*")):
                name = opened.relative(path)
                if name in keep:
                    continue
                freed += path_size(path)
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                removed.append(name)
    opened.close()
    return Cleaned(tuple(removed), freed)


def _needed(store: Store) -> set[str]:
    keep = set()
    for context, facts in store.sweeps().items():
        keep.add(facts["data"])
        for row in store.rows(context):
            if row.artifact:
                keep.add("/".join(Path(row.artifact).parts[:2]))
            if row.failure and row.failure.log:
                keep.add(row.failure.log)
    return keep

"""Free what no row of a store needs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from deploykit.core.digest import path_size
from deploykit.core.errors import StoreError
from deploykit.core.serial import Plain
from deploykit.storage.repair import repair as repaired
from deploykit.storage.store import Store


@dataclass(frozen=True)
class Cleaned(Plain):
    """What was removed.

    Attributes:
        removed: Paths relative to the store.
        freed_bytes: Their size.
        dropped: What a repair has dropped from the database, in words (``"rows 1f3c…"``); None without a repair.

    Example:
        >>> space = dk.Space([dk.Recipe((dk.Step("quantize_dynamic"),))], [dk.Target("onnxruntime")])
        >>> report = dk.sweep(model, data, space, store="runs/cleaned", launches=0)
        [...
        >>> print(dk.clean("runs/cleaned"))
        removed ... files and folders, freed ... MB
    """

    removed: tuple[str, ...]
    freed_bytes: int
    dropped: tuple[str, ...] | None = None

    def __str__(self) -> str:
        if self.dropped is not None:
            if not self.dropped:
                return "nothing in the store is damaged"
            return f"dropped what was damaged: {', '.join(self.dropped)}. The same sweep will redo it"
        return f"removed {len(self.removed)} files and folders, freed {self.freed_bytes / 1e6:.1f} MB"


def clean(store: str | Path, *, repair: bool = False) -> Cleaned:
    """Remove intermediate artifacts, unfinished files and logs that no row refers to.

    A later sweep rebuilds intermediate artifacts if it needs them.

    Args:
        store: The store's folder.
        repair: Only drop rows that cannot be read, so that the next sweep redoes them, and upgrade a store from an
            older version; no file is removed.

    Raises:
        StoreError: There is no store, it is damaged (without ``repair``), or a sweep is running on it.

    Example:
        >>> space = dk.Space([dk.Recipe((dk.Step("quantize_static"),))], [dk.Target("onnxruntime")])
        >>> report = dk.sweep(model, data, space, store="runs/tidy", launches=0)
        [...
        >>> print(dk.clean("runs/tidy"))
        removed ... files and folders, freed ... MB
    """
    if repair:
        return Cleaned((), 0, repaired(store))
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
    return Cleaned(tuple(removed), freed)


def _needed(store: Store) -> set[str]:
    keep = set()
    damaged = []
    for context, facts in store.sweeps().items():
        keep.add(facts["data"])
        rows = store.rows(context)
        found = list(rows)
        damaged += [f"rows {key}" for key in rows.damaged]
        for row in found:
            if row.artifact:
                keep.update("/".join(Path(p).parts[:2]) for p in (row.artifact, row.compiled) if p)
            if row.failure and row.failure.log:
                keep.add(row.failure.log)
    if damaged := [*store.damaged, *damaged]:  # it is unknown which files these name
        raise StoreError(
            f"The store {store.path} is damaged: {', '.join(damaged)}.",
            remedy=f"run deploykit clean {store.path} --repair first.",
        )
    return keep

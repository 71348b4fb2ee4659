"""The store's copies of files that exist already, by the fingerprint of their content: the files may move or change."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from deploykit.core.digest import path_digest
from deploykit.core.errors import ModelFileError
from deploykit.core.model import Model
from deploykit.planning.steps import BuildStep
from deploykit.storage.database import failure
from deploykit.storage.store import Store
from deploykit.transforms._given_files import GivenFile


def keep(store: Store, files: Mapping[str, Model], steps: Iterable[BuildStep]) -> None:
    """Copy the files that build steps read, unless the store has them.

    Args:
        store: The store.
        files: Files by the fingerprints in their names.
        steps: The build steps.

    Raises:
        ModelFileError: The store has no copy of a file that was not given.
        StoreError: There is no room.
    """
    for step in steps:
        place_ = place(store, step)
        if place_ is None or place_.exists():
            continue
        file = GivenFile.read(step.parameters["file"])
        assert file is not None
        if file.digest not in files:
            if store.folder("steps", step.key).exists():
                continue
            raise ModelFileError(
                f"{file.name}: the store {store.path} has no copy of this file, and its path is not known.",
                remedy="name its path again, as a candidate.",
            )
        given = files[file.digest]
        _copy(Path(given.path), given.digest, place_, store)


def place(store: Store, step: BuildStep) -> Path | None:
    """Where a store keeps the file that a step reads; None for a step that reads none."""
    file = GivenFile.read(step.parameters["file"]) if "file" in step.needs else None
    return store.folder("files", file.digest) if file else None


def _copy(source: Path, digest: str, target: Path, store: Store) -> None:
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, temporary, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, temporary)
    except OSError as error:
        raise failure(store.path, error) from error
    if path_digest(temporary) != digest:
        shutil.rmtree(temporary, ignore_errors=True) if temporary.is_dir() else temporary.unlink()
        raise ModelFileError(f"{source}: the file has changed since it was read.", remedy="start the sweep again.")
    store.keep(temporary, target)

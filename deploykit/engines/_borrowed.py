"""Folders that a worker reads where they lie, on a disk that it shares with drivers, instead of being sent them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path, PurePath

from deploykit.core.errors import EngineError
from deploykit.engines._files import describe, files_of

#: Names the shared folders of a worker, as ``PATH`` does.
VARIABLE = "DEPLOYKIT_WORKER_SHARED"
_Stamps = list[tuple[str, int, int]]


def listed(folders: Iterable[str]) -> str:
    """Shared folders as the environment names them.

    Args:
        folders: Each by its path, or as ``THEIRS=OURS`` where drivers reach it by another path.

    Raises:
        EngineError: One is not a folder here.
    """
    found = []
    for text in folders:
        theirs, _, ours = text.rpartition("=")
        if not Path(ours).is_dir():
            raise EngineError(
                f"The shared folder {ours!r} is not a folder of this machine.",
                remedy="mount it, or correct --shared FOLDER or --shared THEIRS=OURS.",
            )
        here = str(Path(ours).absolute())
        found.append(f"{theirs}={here}" if theirs else here)
    return os.pathsep.join(found)


class Borrowed:
    """Trees that are read in place: below shared folders, and compared with the driver's by their digests. Thread-safe.

    Args:
        shared: The shared folders, as `listed` gives them.
    """

    def __init__(self, shared: str) -> None:
        pairs = [text.rpartition("=") for text in shared.split(os.pathsep) if text]
        self._shared = [(PurePath(theirs or ours), Path(ours)) for theirs, _, ours in pairs]
        self._lock = threading.Lock()
        self._known: dict[str, tuple[Path, _Stamps]] = {}

    def take(self, root: str, digest: str) -> bool:
        """Whether a folder of the driver is here as well, with the same files; it is then read in place.

        Args:
            root: The driver's path of the folder.
            digest: Of the tree of all its files.
        """
        for theirs, ours in self._shared:
            if not PurePath(root).is_relative_to(theirs):
                continue
            here = ours / PurePath(root).relative_to(theirs)
            try:
                if not here.is_dir() or not here.resolve().is_relative_to(ours.resolve()):
                    continue
                stamps = _stamps(here)
                if describe(here, files_of(here)).digest != digest:
                    continue
            except OSError:
                continue  # sent instead
            with self._lock:
                self._known[digest] = (here, stamps)
            return True
        return False

    def place(self, digest: str) -> Path | None:
        """Where a tree is read; None when it is not read in place, or its files have changed since."""
        with self._lock:
            found = self._known.get(digest)
        if found is None:
            return None
        folder, stamps = found
        try:
            if _stamps(folder) == stamps:
                return folder
        except OSError:
            pass  # it is gone
        with self._lock:
            self._known.pop(digest, None)
        return None


def _stamps(folder: Path) -> _Stamps:
    """Paths, times and sizes of all files."""
    return sorted((str(f), (s := f.stat()).st_mtime_ns, s.st_size) for f in files_of(folder))

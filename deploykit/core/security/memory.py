"""Files that are in memory alone: what an encrypted artifact is read as, so that nothing of it lies on a disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

#: Folders of links to files in memory, while they are there.
_linked: set[Path] = set()


@dataclass(frozen=True)
class MemoryFiles:
    """A model and what belongs to it, read when it is asked for.

    Attributes:
        name: Relative path of the model, a file or folder, with forward slashes.
        names: Relative paths of all files.
        read: Gives the content of one.
        shown: What they are of, for messages.
    """

    name: str
    names: tuple[str, ...]
    read: Callable[[str], bytearray] = field(repr=False)
    shown: str = ""

    @property
    def is_folder(self) -> bool:
        """Whether the model is a folder."""
        return self.name not in self.names

    def content(self) -> bytes:
        """The bytes of a model that is one file."""
        return bytes(self.read(self.name))

    def beside(self) -> dict[str, bytes]:
        """The other files of the model's folder, by paths relative to it: external data of a model that is one file."""
        folder = PurePosixPath(self.name).parent
        others = (name for name in self.names if name != self.name and PurePosixPath(name).is_relative_to(folder))
        return {PurePosixPath(n).relative_to(folder).as_posix(): bytes(self.read(n)) for n in others}

    def inside(self) -> Iterator[tuple[str, bytearray]]:
        """Files of a model that is a folder, by paths relative to it."""
        for name in self.names:
            if PurePosixPath(name).is_relative_to(self.name):
                yield PurePosixPath(name).relative_to(self.name).as_posix(), self.read(name)

    @contextlib.contextmanager
    def linked(self) -> Iterator[Path | None]:
        """The model's path in a folder of links to files in memory, for readers that take paths.

        Only this process can follow the links. None where the system has no such files (macOS, Windows).
        """
        if not hasattr(os, "memfd_create"):
            yield None
            return
        folder, handles = Path(tempfile.mkdtemp(prefix="deploykit-links-")), []
        _linked.add(folder)
        try:
            for name in self.names:
                handle = os.memfd_create("deploykit")
                handles.append(handle)
                rest = memoryview(self.read(name))
                while rest:
                    rest = rest[os.write(handle, rest) :]
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).symlink_to(f"/proc/self/fd/{handle}")
            yield folder / self.name
        finally:
            _linked.discard(folder)
            for handle in handles:
                os.close(handle)
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def as_path(model: Path | MemoryFiles) -> Iterator[Path | None]:
    """A path at which this process can read a model; see `MemoryFiles.linked`."""
    if isinstance(model, Path):
        yield model
    else:
        with model.linked() as path:
            yield path


def is_linked(path: Path) -> bool:
    """Whether a path is one that `MemoryFiles.linked` gives: a link there is no way out of the model's folder."""
    return any(path.is_relative_to(folder) for folder in _linked)

"""Files that travel between a driver and its workers, named by what they contain.

A *tree* is a set of files with their relative paths; its digest is that of their names and contents. A worker keeps
the trees it has been sent in a folder of its own, the *shelf*, so that each travels to a machine once.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploykit.core.digest import file_digest, json_digest
from deploykit.core.errors import EngineError
from deploykit.core.serial import Plain
from deploykit.storage.disk import private_folder

#: Largest piece of a file in one message.
CHUNK_BYTES = 8 << 20
#: Trees that were not used for longest are thrown away above this size.
SHELF_BYTES = 20 << 30


@dataclass(frozen=True)
class Member(Plain):
    """One file of a tree: its path in the tree, size and SHA-256."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Tree(Plain):
    """A set of files.

    Attributes:
        digest: SHA-256 of names and contents.
        members: The files, by path.
    """

    digest: str
    members: tuple[Member, ...]


def describe(root: Path, files: Iterable[Path]) -> Tree:
    """The tree of some files below a folder."""
    members = tuple(
        Member(file.relative_to(root).as_posix(), file.stat().st_size, file_digest(file)) for file in sorted(files)
    )
    return Tree(json_digest([[m.path, m.sha256] for m in members]), members)


def files_of(path: Path) -> list[Path]:
    """The file itself, or all files of a folder."""
    return [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]


def chunks(size: int, most: int = CHUNK_BYTES) -> Iterator[tuple[int, int]]:
    """Offsets and lengths, each at most ``most``, that cover a file; an empty file is one empty piece."""
    for start in range(0, max(size, 1), most):
        yield start, min(most, size - start)


def read_chunk(path: Path, offset: int, length: int) -> bytes:
    """A piece of a file."""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def write_chunk(path: Path, offset: int, data: bytes) -> None:
    """Write a piece of a file whose earlier pieces are there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb" if offset == 0 else "r+b") as file:
        file.seek(offset)
        file.write(data)


@dataclass
class Bundle:
    """Files that travel together: all of a folder, or chosen ``files`` below ``root``."""

    root: Path
    files: list[Path]
    whole: bool


def bundles(reads: Iterable[str]) -> list[Bundle]:
    """What a task reads, as few trees: files keep their places beside each other, as external data beside a model."""
    found: list[Bundle] = []
    for path in sorted({Path(r) for r in reads}, key=lambda p: (len(p.parent.parts), p)):
        if path.is_dir():
            found.append(Bundle(path, files_of(path), whole=True))
            continue
        near = next((b for b in found if not b.whole and path.parent.is_relative_to(b.root)), None)
        if near is None:
            found.append(Bundle(path.parent, [path], whole=False))
        else:
            near.files.append(path)
    return found


def translate(value: Any, places: dict[str, str]) -> Any:
    """Plain data with paths replaced: whole strings, and what lies below a path that is replaced."""
    order = sorted(places, key=len, reverse=True)

    def convert(item: Any) -> Any:
        if isinstance(item, str):
            for old in order:
                if item == old:
                    return places[old]
                if item.startswith(old) and item[len(old)] in "/\\":
                    return places[old] + item[len(old) :]
            return item
        if isinstance(item, dict):
            return {k: convert(v) for k, v in item.items()}
        if isinstance(item, list | tuple):
            return [convert(v) for v in item]
        return item

    return convert(value)


class Shelf:
    """Trees on a worker's disk. Safe to share between the workers of a machine: trees appear in one step.

    ::

        FOLDER/trees/<digest>/     files as they were sent
        FOLDER/incoming/<id>/      trees that are being sent
        FOLDER/written/<id>/       what tasks write
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("trees", "incoming", "written"):
            private_folder(folder / name)  # data are sent here

    def path(self, digest: str) -> Path:
        """Where a tree is, or will be."""
        return self.folder / "trees" / digest

    def has(self, digest: str) -> bool:
        """Whether the tree is here; notes that it was used."""
        try:
            os.utime(self.path(digest))
        except FileNotFoundError:
            return False
        return True

    def begin(self) -> str:
        """Begin to receive a tree."""
        name = uuid.uuid4().hex
        (self.folder / "incoming" / name).mkdir()
        return name

    def receive(self, name: str, path: str, offset: int, data: bytes) -> None:
        """Take a piece of a file of the tree that is being sent."""
        write_chunk(self.folder / "incoming" / name / path, offset, data)

    def finish(self, name: str, tree: Tree) -> None:
        """Put a received tree on the shelf.

        Raises:
            EngineError: It is not what was announced.
        """
        self.adopt(self.folder / "incoming" / name, tree)

    def adopt(self, folder: Path, tree: Tree) -> None:
        """Move a folder onto the shelf that holds a tree.

        Raises:
            EngineError: It holds something else.
        """
        found = describe(folder, files_of(folder))
        if found.digest != tree.digest:
            shutil.rmtree(folder, ignore_errors=True)
            raise EngineError(f"Files arrived damaged: expected {tree.digest[:16]}, got {found.digest[:16]}.")
        try:
            folder.rename(self.path(tree.digest))
        except OSError:
            if not self.path(tree.digest).is_dir():
                raise
            shutil.rmtree(folder, ignore_errors=True)  # another worker was faster

    def hold(self) -> None:
        """Keep other workers of this machine from trimming while this process lives."""
        self._lock(shared=True)

    def trim(self, limit_bytes: int = SHELF_BYTES) -> None:
        """Throw away what dead processes left, and the trees that were not used for longest; not while it is in use."""
        if (descriptor := self._lock(shared=False)) is None:
            return
        try:
            for name in ("incoming", "written"):
                for leftover in (self.folder / name).iterdir():
                    shutil.rmtree(leftover, ignore_errors=True)
            self._trim_trees(limit_bytes)
        finally:
            os.close(descriptor)

    def _lock(self, *, shared: bool) -> int | None:
        """A descriptor that holds the lock until it is closed; None when others hold it, or there are no such locks."""
        try:
            import fcntl
        except ImportError:
            return None
        descriptor = os.open(self.folder / "in-use.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def _trim_trees(self, limit_bytes: int) -> None:
        trees = sorted((self.folder / "trees").iterdir(), key=lambda p: p.stat().st_mtime, reverse=True)
        kept = 0
        for tree in trees:
            kept += sum(f.stat().st_size for f in files_of(tree))
            if kept > limit_bytes:
                shutil.rmtree(tree, ignore_errors=True)


def default_shelf() -> Path:
    """The shelf of this machine: ``DEPLOYKIT_WORKER_FOLDER``, else a folder in the user's cache."""
    if given := os.environ.get("DEPLOYKIT_WORKER_FOLDER"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    with contextlib.suppress(OSError):
        Path(base).mkdir(parents=True, exist_ok=True)
    return Path(base) / "deploykit" / "worker"

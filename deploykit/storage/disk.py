"""Disks that are full, and files that only their owner may read."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from deploykit.core.errors import StoreError

#: With less free space than this, whatever fails is put down to the disk.
ROOM_BYTES = 64 << 10
_FULL = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})
#: How libraries that give no error number say it: NumPy, SQLite, HDF5, the C library's words in C++ exceptions.
_WORDS = re.compile(
    r"\d+ requested and \d+ written|disk is full|disk full|no space left on device|disk quota exceeded|errno = 28\b",
    re.IGNORECASE,
)


def is_full(error: BaseException) -> bool:
    """Whether an error, or one it was raised from, says that a disk is full."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        if getattr(found, "errno", None) in _FULL or _WORDS.search(str(found)):
            return True
        found = found.__cause__ or found.__context__
    return False


def has_no_room(path: Path) -> bool:
    """Whether hardly anything more can be written at a path (which need not exist)."""
    there = next((p for p in (path, *path.parents) if p.exists()), None)
    with contextlib.suppress(OSError):
        return there is not None and shutil.disk_usage(there).free < ROOM_BYTES
    return False


def full(what: str, error: BaseException | str = "no space left on device") -> StoreError:
    """The error of a full disk.

    Args:
        what: Whose disk: ``"the store runs"``, ``"the folder /tmp"``.
        error: What was said.
    """
    return StoreError(
        f"The disk of {what} is full: {str(error).rstrip('.')}.",
        remedy="free some space (deploykit clean STORE), then rerun: finished work is kept.",
    )


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say clearly when what is written to a path does not fit on the disk.

    Raises:
        StoreError: The disk is full.
    """
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise full(f"the folder {path}", error) from error
        raise


def private_folder(path: Path) -> None:
    """Make a folder that only its owner may look into; an open one is closed to others, unless another user owns it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name == "posix":
        with contextlib.suppress(OSError):
            path.chmod(0o700)


def make_private(path: Path) -> None:
    """Let only the owner read a file, or a folder with all it holds; what belongs to others stays as it is."""
    if os.name != "posix":
        return  # Windows gives a user's folders to that user alone
    for member in (path, *path.rglob("*")) if path.is_dir() else (path,):
        if not member.is_symlink():
            with contextlib.suppress(OSError):
                member.chmod(0o700 if member.is_dir() else 0o600)

"""Whether files are in the system's cache, and dropping them from it: cold and warm loads differ in that."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

#: Shares of pages in the cache at which a load counts as cold, and as warm; in between it is neither.
COLD, WARM = 0.05, 0.95


def drop(paths: Iterable[Path]) -> None:
    """Ask the system to drop files and the content of folders from its cache; one that cannot is left as it is.

    Takes no privileges. Pages that another process has mapped stay, as do files on a file system in memory.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    for file in _files(paths):
        with contextlib.suppress(OSError):
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def share_cached(paths: Iterable[Path]) -> float | None:
    """Share of the pages of files and folders that is in the system's cache; None where it does not say."""
    cached = pages = 0
    for file in _files(paths):
        found = _cached(file)
        if found is None:
            return None
        cached, pages = cached + found[0], pages + found[1]
    return cached / pages if pages else None


def state(share: float | None) -> str | None:
    """``"cold"``, ``"warm"``, "" for in between; None where the system does not say.

    Args:
        share: As `share_cached` gives it.
    """
    return None if share is None else "cold" if share <= COLD else "warm" if share >= WARM else ""


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from (file for file in path.rglob("*") if file.is_file())
        elif path.is_file():
            yield path


def _cached(file: Path) -> tuple[int, int] | None:
    """Pages of a file in the cache, and all of them (``mincore``; without privileges it answers for own files only)."""
    size = file.stat().st_size
    if not size:
        return 0, 0
    count = -(-size // mmap.PAGESIZE)
    try:
        mincore = ctypes.CDLL(None, use_errno=True).mincore
        with file.open("rb") as opened:  # private and writable: ctypes takes the address of writable memory only
            mapped = mmap.mmap(opened.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    except (AttributeError, OSError, TypeError, ValueError):  # not this system, or not this file system
        return None
    states = (ctypes.c_ubyte * count)()
    view = (ctypes.c_char * size).from_buffer(mapped)
    failed = mincore(ctypes.c_void_p(ctypes.addressof(view)), ctypes.c_size_t(size), states)
    del view
    mapped.close()
    return None if failed else (sum(state & 1 for state in bytes(states)), count)

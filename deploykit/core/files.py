"""Small files: read without ever blocking (pipes, devices and large ones are refused), and replaced as a whole.

Also the folder for what deploykit keeps of a user.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from deploykit.core.errors import DeploykitError

_KINDS = {
    stat.S_IFIFO: "a named pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFDIR: "a folder",
}


def read_small(path: Path, limit_bytes: int, what: str, error: type[DeploykitError]) -> bytes:
    """The content of a regular file.

    Args:
        path: The file.
        limit_bytes: Most bytes it may have.
        what: What it is read as, for messages: ``"the space"``.
        error: What is raised.

    Raises:
        DeploykitError: Of type ``error``: it is missing, unreadable, no regular file, or too large.
    """

    def refused(why: str, remedy: str = "check the path.") -> DeploykitError:
        return error(f"Cannot read {what} {str(path)!r}: {why}.", remedy=remedy)

    try:  # without O_NONBLOCK a pipe without a writer would be waited for
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as failure:
        raise refused(str(failure.strerror)) from failure
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
            raise refused(f"it is {kind}, not a regular file", "give the path of a regular file.")
        if status.st_size > limit_bytes:
            raise refused(f"it has {status.st_size:,} bytes, more than the limit of {limit_bytes:,}")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(limit_bytes)
    except OSError as failure:
        raise refused(str(failure.strerror), "check the disk.") from failure
    finally:
        os.close(descriptor)


def replace_whole(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write a file that other processes see as it was or as it is now, and never in between.

    One that is there keeps its permissions; only this user can read a new one.

    Args:
        path: The file; its folder exists.
        content: All of it.
        durable: Return when it is on the disk, so that a power cut does not undo it.

    Raises:
        OSError: It cannot be written; the old one stays, and nothing is left beside it.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(path, name)
        os.replace(name, path)  # noqa: PTH105  atomic on every system
        if durable:
            synced(path.parent, deep=False)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def synced(folder: Path, *, deep: bool = True) -> None:
    """Return when a folder is on the disk: its entries, and with ``deep`` all files and folders in it."""
    places = [*(folder.rglob("*") if deep else ()), folder]
    for place in places:
        if sys.platform == "win32" and place.is_dir():  # which Windows does not open
            continue
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def cache_folder() -> Path:
    """Where deploykit keeps copies: ``$DEPLOYKIT_CACHE``, else the user's cache folder, else a temporary one."""
    if given := os.environ.get("DEPLOYKIT_CACHE"):
        return Path(given).absolute()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "deploykit"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    return Path(tempfile.gettempdir()) / f"deploykit-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"

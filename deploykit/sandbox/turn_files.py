"""The files of `deploykit.sandbox.turn`: locks that only their user can open, and notes of who holds them."""

from __future__ import annotations

import contextlib
import os
import platform
import stat
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from deploykit.core.errors import DeploykitError, EngineError
from deploykit.core.serial import Plain, dump, parse

Name = Literal["gate", "timing"]

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: Whether locks can be shared.
SHARED = fcntl is not None
#: Descriptors of the locks of this process.
_descriptors: set[int] = set()
_LONGEST = 80
_MOST = 3


@dataclass(frozen=True)
class Holder(Plain):
    """Who holds a lock.

    Attributes:
        pid: Its process.
        command: What it runs.
        since: Seconds since 1970.
        started: When the process began, which tells it from a later one with its number.
    """

    pid: int
    command: str
    since: float
    started: float

    @property
    def alive(self) -> bool:
        """Whether the process still exists."""
        import psutil

        with contextlib.suppress(psutil.Error):
            return abs(psutil.Process(self.pid).create_time() - self.started) < 1.0
        return False

    def __str__(self) -> str:
        from deploykit.sandbox.watching import stopped

        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        still = ", which is suspended" if stopped(self.pid) else ""
        return f"process {self.pid}{still}: {self.command}, since {when}"


class Lock:
    """An open lock file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def take(self, *, shared: bool) -> bool:
        """Take the lock if it is free, alone or with others; whether that worked."""
        if fcntl is None:
            return _take_byte(self._descriptor)
        try:
            fcntl.flock(self._descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextlib.contextmanager
def opened(name: Name) -> Iterator[Lock]:
    """The lock file, which is given back at the end.

    Raises:
        EngineError: It belongs to another user, or is not a file.
    """
    path = lock_file(name)
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise _refused(path, f"it cannot be opened ({error.strerror})") from error
    try:
        if why := _foreign(os.fstat(descriptor), stat.S_ISREG, "a regular file"):
            raise _refused(path, why)
        _descriptors.add(descriptor)
        yield Lock(descriptor)
    finally:
        _descriptors.discard(descriptor)
        os.close(descriptor)


@contextlib.contextmanager
def noted(name: Name) -> Iterator[None]:
    """Leave a note that this process holds a lock."""
    path = folder() / f"{name}-{os.getpid()}-{uuid.uuid4().hex[:8]}.holder"
    with contextlib.suppress(OSError):  # a note for people: nothing depends on it
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(dump(_here()))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def holders(name: Name) -> str:
    """Who holds a lock and which file it is, in words."""
    found = []
    for path in sorted(folder().glob(f"{name}-*.holder")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, DeploykitError):
            holder = Holder.from_json(parse(path.read_bytes()))
            if holder.alive:
                found.append(holder)
            else:  # it was killed: the system has freed its lock
                path.unlink(missing_ok=True)
    shown = "; ".join(map(str, found[:_MOST])) or "an unknown process"
    more = f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return f"{shown}{more}; lock {lock_file(name)}"


def lock_file(name: Name) -> Path:
    """The file of a lock."""
    return folder() / f"{name}.lock"


def folder() -> Path:
    """The folder of the files: the same for all processes of a user on a machine, and closed to everybody else.

    Raises:
        EngineError: There is none: others own the places where it could be.
    """
    reasons = []
    for place in _places():
        if not (why := _unsafe(place)):
            return place
        reasons.append(f"{place}: {why}")
    raise EngineError(
        f"There is no safe folder for the locks that keep timings exclusive on this machine ({'; '.join(reasons)}).",
        remedy="remove what is in the way, or ask its owner to.",
    )


def forget() -> None:
    """Close what was inherited by a fork: the locks stay with the process that took them."""
    for descriptor in _descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _descriptors.clear()


def _places() -> list[Path]:
    """Where the folder may be, best first: others can be in the way in the temporary folder, not in the user's own."""
    name = f"deploykit-{os.getuid()}" if hasattr(os, "getuid") else "deploykit"
    own = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    host = "".join(c if c.isalnum() else "-" for c in platform.node()) or "host"  # homes may be shared by machines
    return [Path(tempfile.gettempdir()) / name, own / "deploykit" / f"locks-{host}"]


def _unsafe(place: Path) -> str:
    """Why a folder, which is made if there is none, cannot be used; "" when it can."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            place.mkdir(mode=0o700)
        status = place.lstat()
        if why := _foreign(status, stat.S_ISDIR, "a folder"):
            return why
        if hasattr(os, "getuid") and stat.S_IMODE(status.st_mode) & 0o077:
            place.chmod(0o700)  # our own, created under some umask
    except OSError as error:
        return f"it cannot be used ({error.strerror})"
    return ""


def _foreign(status: os.stat_result, is_right: Callable[[int], bool], what: str) -> str:
    if not is_right(status.st_mode):
        return f"it is not {what}"
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        return f"it belongs to another user (uid {status.st_uid})"
    return ""


def _refused(path: Path, why: str) -> EngineError:
    return EngineError(f"The lock file {path} cannot be used: {why}.", remedy="remove it, then try again.")


@cache
def _process() -> tuple[int, str, float]:
    import psutil

    command = " ".join(sys.orig_argv)
    short = command if len(command) <= _LONGEST else f"{command[:_LONGEST]}…"
    return os.getpid(), short, psutil.Process().create_time()


def _here() -> Holder:
    pid, command, started = _process()
    if pid != os.getpid():  # a fork
        _process.cache_clear()
        pid, command, started = _process()
    return Holder(pid, command, time.time(), started)


def _take_byte(descriptor: int) -> bool:
    """Lock on Windows."""
    import msvcrt

    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError:
        return False
    return True

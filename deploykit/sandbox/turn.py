"""Whose turn it is on this machine: one that times, or any number that build and evaluate.

Two lock files in the temporary folder, so that all deploykit processes of a machine take part. Who wants the machine
alone closes the gate first, so that others who come and go do not keep it waiting for ever. The system frees both
when a process dies.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from deploykit.core.errors import Cancelled

_POLL_S = 0.05
_SAY_S = 0.5

Say = Callable[[str], None]


@contextlib.contextmanager
def alone(cancel: threading.Event, say: Say) -> Iterator[None]:
    """Own the machine: nobody else times, and nobody works under `together`.

    Raises:
        Cancelled: ``cancel`` was set while waiting.
    """
    words = "waiting: another deploykit process works on this machine"
    with _held("gate", cancel, say, words), _held("timing", cancel, say, words):
        yield


@contextlib.contextmanager
def together(cancel: threading.Event, say: Say) -> Iterator[None]:
    """Share the machine with others that do not time. Without shared locks (Windows) nobody waits.

    Raises:
        Cancelled: ``cancel`` was set while waiting.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return

    def try_shared() -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    words = "waiting: this machine is timing"
    with _held("gate", cancel, say, words):
        descriptor = _open(_file("timing"))
        try:
            _wait(try_shared, cancel, say, words)
        except BaseException:
            os.close(descriptor)
            raise
    try:
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _held(name: str, cancel: threading.Event, say: Say, words: str) -> Iterator[None]:
    lock = FileLock(_file(name), mode=0o666)

    def try_exclusive() -> bool:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    _wait(try_exclusive, cancel, say, words)
    try:
        yield
    finally:
        lock.release()


def _wait(try_once: Callable[[], bool], cancel: threading.Event, say: Say, words: str) -> None:
    told = time.monotonic() + _SAY_S
    while not try_once():
        if cancel.is_set():
            raise Cancelled("cancelled while waiting for the machine.")
        if time.monotonic() >= told:
            told = time.monotonic() + _SAY_S
            say(words)
        time.sleep(_POLL_S)


def _file(name: str) -> str:
    return str(Path(tempfile.gettempdir()) / f"deploykit-{name}.lock")


def _open(path: str) -> int:
    """The file for reading; made, for all users, when it does not exist."""
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        with contextlib.suppress(PermissionError):
            os.fchmod(descriptor, 0o666)
        return descriptor

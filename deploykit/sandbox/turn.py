"""Whose turn it is on this machine: one that times, or any number that build and evaluate.

Two lock files in a folder of the user's own, so that all deploykit processes of a user on a machine take part, and
no other user can hold them up. A process that wants the machine alone closes the gate first, so that others who come
and go do not keep it waiting for ever. The system frees both when a process dies. Beside them each holder leaves a note
of who it is, for those that wait.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator

from deploykit.core.errors import Cancelled
from deploykit.sandbox import turn_files
from deploykit.sandbox.turn_files import Name

_POLL_S = 0.05
_SAY_S = 0.5

#: Called with what is waited for, and in a second line for whom, which not every place has room for.
Say = Callable[[str], None]


@contextlib.contextmanager
def alone(cancel: threading.Event, say: Say) -> Iterator[None]:
    """Own the machine: no other process times, and none works under `together`.

    Raises:
        Cancelled: ``cancel`` was set while waiting.
        EngineError: There is no safe place for the lock files.
    """
    words = "waiting: another deploykit process is working on this machine"
    with _held("gate", cancel, say, words), _held("timing", cancel, say, words):
        yield


@contextlib.contextmanager
def together(cancel: threading.Event, say: Say) -> Iterator[None]:
    """Share the machine with others that do not time. Without shared locks (Windows) there is no waiting.

    Raises:
        Cancelled: ``cancel`` was set while waiting.
        EngineError: There is no safe place for the lock files.
    """
    if not turn_files.SHARED:
        yield
        return
    words = "waiting: a timing is running on this machine"
    with contextlib.ExitStack() as stack:
        with _held("gate", cancel, say, words):
            stack.enter_context(_held("timing", cancel, say, words, shared=True))
        yield


@contextlib.contextmanager
def _held(name: Name, cancel: threading.Event, say: Say, words: str, *, shared: bool = False) -> Iterator[None]:
    with turn_files.opened(name) as lock:
        _wait(lambda: lock.take(shared=shared), lambda: f"{words}\n{turn_files.holders(name)}", cancel, say)
        with turn_files.noted(name):
            yield


def _wait(try_once: Callable[[], bool], words: Callable[[], str], cancel: threading.Event, say: Say) -> None:
    told = time.monotonic() + _SAY_S
    while not try_once():
        if cancel.is_set():
            what, who = words().split("\n", 1)
            raise Cancelled(f"Cancelled while {what} ({who}).")
        if time.monotonic() >= told:
            told = time.monotonic() + _SAY_S
            say(words())
        time.sleep(_POLL_S)


# A fork of this process must not keep its locks when it ends.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=turn_files.forget)

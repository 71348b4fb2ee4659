"""Signals that end a server that runs in the foreground."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


def _terminate() -> None:
    raise Terminated


def terminable() -> contextlib.AbstractContextManager[None]:
    """Have SIGTERM interrupt the block as Ctrl-C does."""
    return signals(_terminate, signal.SIGTERM)


@contextlib.contextmanager
def signals(action: Callable[[], None], *numbers: int) -> Iterator[None]:
    """Do something when signals come; they belong to the main thread, so elsewhere nothing changes."""
    main = threading.current_thread() is threading.main_thread()
    before = [(number, signal.signal(number, lambda *_: action())) for number in numbers] if main else []
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler or signal.SIG_DFL)

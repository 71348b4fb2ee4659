"""Looks at processes from outside: how large they are, and whether they stand still."""

from __future__ import annotations

import time

#: How long a process may stand still before it is given up: the driver and its children may be stopped together, by
#: Ctrl-Z for example, and are not continued at the same instant.
STILL_S = 5.0


def private_bytes(pid: int) -> int:
    """Memory that a process has for itself, 0 when it is gone.

    Pages of mapped files do not count where the system says how many there are (Linux): it takes them back when it
    needs them, and with a large data set a process would look as if it had grown.
    """
    import psutil

    try:
        memory = psutil.Process(pid).memory_info()
        return int(memory.rss - getattr(memory, "shared", 0))
    except psutil.Error:
        return 0


def stopped(pid: int) -> bool:
    """Whether a process was stopped by a signal (SIGSTOP) and not continued; False where that is not known."""
    import psutil

    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


class Standstill:
    """Notices that a process stands still; asked again and again while one waits for it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._since: float | None = None

    def lasts(self) -> bool:
        """Whether it was suspended at every look for so long that it will not be resumed."""
        if not stopped(self._pid):
            self._since = None
            return False
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        return now - self._since > STILL_S

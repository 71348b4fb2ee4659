"""Messages to systemd, which runs a server with ``Type=notify``: it is ready, it lives, it ends.

Source: sd_notify(3). Nothing happens where the environment does not name a socket.
"""

from __future__ import annotations

import os
import socket
import time


class Notices:
    """Messages to systemd. Belongs to one thread."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        #: As often as it should be, which is twice within the time that it may take.
        self._every = _seconds(os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")) / 2
        self._last = 0.0

    def ready(self) -> None:
        """Requests are answered."""
        self._say("READY=1")

    def stopping(self) -> None:
        """It ends."""
        self._say("STOPPING=1")

    def living(self) -> None:
        """It lives; said only as often as it is asked for."""
        now = time.monotonic()
        if self._every and now >= self._last + self._every:
            self._last = now
            self._say("WATCHDOG=1")

    def _say(self, message: str) -> None:
        if not self._address or not hasattr(socket, "AF_UNIX"):
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                notify.sendto(message.encode(), address)
        except OSError:  # it is the user's socket no more, which is none of the server's affair
            return


def _seconds(microseconds: str, pid: str) -> float:
    """Time between two signs that this process lives; 0 if none are waited for."""
    if not microseconds.isdigit() or pid not in ("", str(os.getpid())):
        return 0.0
    return int(microseconds) / 1e6

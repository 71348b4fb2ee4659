"""A worker's own watch: its pulse, connections that come from the stand-in, and its last words when a batch is stuck.

A batch that runs too long cannot be stopped, so the process must end. The thread here sees it even while the event loop
is held up by that batch, tells the clients whose requests are lost, and ends the worker; its parent starts another.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import threading
import time
from typing import TYPE_CHECKING

from deploykit.serving.faults import ExpiredError, Fault, UnavailableError

if TYPE_CHECKING:
    from deploykit.serving.health.vitals import Vitals
    from deploykit.serving.transport.http_server import HTTPServer

#: Time between two beats.
BEAT_SECONDS = 0.1
#: Exit status of a worker that a batch was stuck in.
EXIT_STUCK = 3
#: Beyond its time, so that the event loop can say that it is over, if it still turns.
_MARGIN_SECONDS = 1.25
#: Time for the event loop to stand still, and for the last words to leave.
_PARK_SECONDS, _LEAVE_SECONDS = 0.5, 0.25
#: What the stand-in says of a connection that it hands over: as it was accepted, or one whose TLS it keeps.
RAW, PLAIN = b"r", b"p"


class Pulse:
    """Beats as long as the worker lives. Made in its event loop.

    Args:
        vitals: Where the parent sees it; None: nowhere.
        http: The worker's HTTP server.
        seconds: Time that a batch may run.
        handover: Where connections come from, None where they cannot be handed over. It is the pulse's from now on.
    """

    def __init__(
        self, vitals: Vitals | None, http: HTTPServer, seconds: float, handover: socket.socket | None = None
    ) -> None:
        self._vitals = vitals
        self._http = http
        self._seconds = seconds + _MARGIN_SECONDS
        self._handover = handover
        self._loop = asyncio.get_running_loop()
        self._ended = threading.Event()
        if handover is not None:
            handover.setblocking(False)
            self._loop.add_reader(handover.fileno(), self._take)
        if vitals is not None:
            vitals.loaded()
            self._beat(vitals)
            threading.Thread(target=self._watch, args=(vitals,), name="deploykit-pulse", daemon=True).start()

    def _beat(self, vitals: Vitals) -> None:
        vitals.beat_loop()
        if not self._ended.is_set():
            self._loop.call_later(BEAT_SECONDS, self._beat, vitals)

    def end(self) -> None:
        """Take the connections that are already on their way, and no more. Stuck batches are still noticed."""
        self._ended.set()
        if self._handover is not None:
            self._take()
        if self._handover is not None:
            self._close(self._handover)

    def _close(self, handover: socket.socket) -> None:
        self._loop.remove_reader(handover.fileno())
        handover.close()
        self._handover = None

    def _take(self) -> None:
        """Take in the connections that were handed over."""
        while self._handover is not None:
            try:
                how, descriptors, _, _ = socket.recv_fds(self._handover, 1, 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                how, descriptors = b"", []
            if not how:  # the parent is gone
                self._close(self._handover)
                return
            for descriptor in descriptors:
                self._http.take(socket.socket(fileno=descriptor), tls=how == RAW)

    def _watch(self, vitals: Vitals) -> None:
        while True:
            time.sleep(BEAT_SECONDS)
            vitals.beat_thread()
            if vitals.overdue(self._seconds) and vitals.doom(self._seconds):
                self._die(vitals)

    def _die(self, vitals: Vitals) -> None:
        logging.getLogger("deploykit.serving").error("a batch runs longer than answer_seconds: the worker is replaced")
        on_loop = vitals.busy
        self._loop.call_soon_threadsafe(vitals.park)
        end = time.monotonic() + _PARK_SECONDS
        while not (still := vitals.parked or vitals.busy) and time.monotonic() < end:
            time.sleep(0.01)
        lost: Fault = UnavailableError("A model got stuck, and its worker is being replaced; try again.")
        late: Fault = lost
        if on_loop:  # all whose requests were read have waited as long as that batch
            late = ExpiredError(f"The answer was not ready within {self._seconds - _MARGIN_SECONDS:g} s.")
        if still:
            with contextlib.suppress(Exception):
                self._http.last_words(late, lost)
        time.sleep(_LEAVE_SECONDS)
        os._exit(EXIT_STUCK)

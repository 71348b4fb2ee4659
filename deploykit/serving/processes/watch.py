"""The parent's watch over its workers: replaces those that are stuck, stopped or too large, and stands in for them.

A thread looks at all workers several times a second. What it sees is in memory that they share (`Signs`), so a look
costs neither side anything to speak of. It never judges by the clock alone: only what stays the same from look to look
counts, so that a parent that was suspended with its workers does not take them for stuck.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from deploykit.core.errors import SettingError
from deploykit.core.settings.limits import ServerLimits
from deploykit.sandbox.watching import Standstill, private_bytes
from deploykit.serving.health.suspects import Suspects, suspects_file
from deploykit.serving.health.vitals import NOT_READY_SECONDS, Signs, vitals_file
from deploykit.serving.meter import Meter
from deploykit.serving.processes.pulse import EXIT_STUCK
from deploykit.serving.processes.standin import StandIn
from deploykit.serving.traffic import meter_file

if TYPE_CHECKING:
    from deploykit.serving.processes.process import Worker
    from deploykit.serving.protection.tls import Tls

_LOOK_SECONDS = 0.1
#: An event loop that is silent for so long has a stand-in.
_STAND_IN_SECONDS = 0.5
#: Time that an event loop may be silent while no batch runs: models that are loaded can hold it up.
_SILENCE_SECONDS = 30.0
#: Time beyond its own in which a worker with a stuck batch ends by itself, if it can.
_PATIENCE_SECONDS = 4.0
#: Memory is looked at less often: it takes a system call and more.
_MEMORY_SECONDS = 0.5
#: What a worker may take where no limit is given, beside twice what it took when it was ready.
_SPARE_BYTES = 2 << 30
#: A worker that is being drained for its memory is killed when it has taken so much more.
_GROWTH = 1.25
#: Time beyond that for its last requests until a worker that was told to end is killed.
_DRAIN_PATIENCE_SECONDS = 3.0
#: Signals that a worker gets for what it does itself. SIGKILL comes from others.
_CRASHES = frozenset(
    getattr(signal, name) for name in ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS")
    if hasattr(signal, name)
)  # fmt: skip

_log = logging.getLogger("deploykit.serving")


@dataclass
class _Post:
    """What is known of one worker."""

    worker: Worker
    signs: Signs | None
    ready: bool = False
    beats: tuple[int, int] = (0, 0)
    silent: float = 0.0
    loads: int = -1
    settled_bytes: int = 0
    looked_at_memory: float = 0.0
    used_bytes: int = 0
    ends_at: float = 0.0
    #: Whether it was killed for what it did.
    guilty: bool = False
    standstill: Standstill = field(init=False)

    def __post_init__(self) -> None:
        self.standstill = Standstill(self.worker.process.pid)

    @property
    def serves(self) -> bool:
        return self.ready and not self.ends_at and self.worker.process.returncode is None

    @property
    def well(self) -> bool:
        """Whether it takes connections at the moment."""
        return self.serves and self.silent < _STAND_IN_SECONDS


class Watch:
    """Watches the workers of one server.

    Args:
        counters: Path of the server's counters; what workers share with the watch lies beside it.
        limits: The server's limits.
        tls: Files of its TLS, None without.
    """

    def __init__(self, counters: Path, limits: ServerLimits, tls: Tls | None) -> None:
        self._counters = counters
        self._limits = limits
        self._tls = tls
        self._suspects = Suspects(suspects_file(counters))
        self._listeners: Sequence[socket.socket] = ()
        self._posts: dict[int, _Post] = {}
        self._lock = threading.Lock()
        self._following = threading.Lock()
        self._draining = False
        self._closing = threading.Event()
        self._stand_in: StandIn | None = None
        self._meter: Meter | None = None
        self._followed: tuple[Sequence[socket.socket], Sequence[socket.socket]] = ((), ())
        self._thread = threading.Thread(target=self._run, name="deploykit-watch", daemon=True)

    # -- what the keeper of the workers calls --------------------------------------------------------------------------

    def begin(self, listeners: Mapping[str, Sequence[socket.socket]]) -> None:
        """Watch from now on.

        Args:
            listeners: Sockets by protocol, that of HTTP by "": one for each worker, or one for all; none where
                connections cannot be handed over.
        """
        self._listeners = tuple(listeners.get("", ()))
        if self._listeners and hasattr(socket, "send_fds"):
            tls = None if self._tls is None else self._tls.context()
            self._stand_in = StandIn(self._limits, tls, self._readiness, self._count)
        self._thread.start()

    def check_fits(self, worker: Worker) -> None:
        """Raise `SettingError` if a worker that has answered nothing takes more memory than it may."""
        limit, used = self._limits.memory_bytes, private_bytes(worker.process.pid)
        if limit and used > limit:
            raise SettingError(
                f"The limit memory_bytes is {limit:,}, and a worker takes {used:,} bytes before its first request.",
                remedy="raise the limit, or leave it out.",
            )

    def started(self, slot: int, worker: Worker) -> None:
        """A worker has been started and has no order yet."""
        signs = None
        with contextlib.suppress(OSError):  # temporary files were removed, and cannot be made again: less is seen
            self._counters.parent.mkdir(parents=True, exist_ok=True)
            before = self._posts.get(slot)
            signs = Signs.of(vitals_file(self._counters, slot), None if before is None else before.signs)
            self._suspects.share()
        with self._lock:
            self._posts[slot] = _Post(worker, signs)

    def ready(self, slot: int) -> None:
        """It serves."""
        with self._lock:
            post = self._posts[slot]
            post.ready = True
        self._follow()

    def ended(self, slot: int) -> None:
        """Its process is gone: find out what it died of."""
        with self._lock:
            post = self._posts[slot]
            post.ready = False
            if post.signs is not None:
                self._accuse(post, post.signs)
        self._follow()

    def drain(self) -> None:
        """The server goes down: it still answers."""
        self._draining = True

    def settle(self) -> None:
        """Stop watching, and hand over the connections that wait; called before the listening sockets are closed."""
        self._draining = True
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._stand_in is not None:
            self._stand_in.settle(self._ways())

    def close(self) -> None:
        """End, when no worker is left."""
        if self._stand_in is not None:
            self._stand_in.close()

    # -- the watch -----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        before = time.monotonic()
        while not self._closing.wait(_LOOK_SECONDS):
            now = time.monotonic()
            passed = min(now - before, 2 * _LOOK_SECONDS)
            before = now
            with self._lock:
                posts = list(self._posts.items())
            try:
                for slot, post in posts:
                    if post.ready and post.worker.process.returncode is None:
                        self._look(slot, post, passed)
                self._follow()
            except Exception:  # the next look may be luckier, and no watch at all would be worse
                _log.exception("cannot look after the workers")

    def _look(self, slot: int, post: _Post, passed: float) -> None:
        now = time.monotonic()
        if post.signs is not None and post.signs.loop:  # none where the worker could not open the file
            beats = post.signs.loop, post.signs.thread
            post.silent = post.silent + passed if beats[0] == post.beats[0] else 0.0
            if beats[1] == post.beats[1] and post.standstill.lasts():
                self._kill(slot, post, "it was stopped, and is not continued")
                return
            post.beats = beats
            longest = self._limits.answer_seconds + _PATIENCE_SECONDS
            if post.signs.longest() > longest:
                self._kill(slot, post, "a batch runs longer than answer_seconds", guilty=True)
                return
            if post.silent > max(longest, _SILENCE_SECONDS):
                self._kill(slot, post, "it does not answer")
                return
        if post.ends_at and now > post.ends_at:
            self._kill(slot, post, "it does not end", guilty=True)
        elif now - post.looked_at_memory > _MEMORY_SECONDS:
            post.looked_at_memory = now
            self._weigh(slot, post, now)

    def _weigh(self, slot: int, post: _Post, now: float) -> None:
        """Replace a worker that takes too much memory."""
        post.used_bytes = used = private_bytes(post.worker.process.pid)
        loads = 0 if post.signs is None else post.signs.loads
        if loads != post.loads:
            post.loads, post.settled_bytes = loads, used
        limit = self._limits.memory_bytes or 2 * post.settled_bytes + _SPARE_BYTES
        if used <= limit:
            return
        if used > limit * _GROWTH:
            self._kill(slot, post, f"it takes {used:,} bytes of memory", guilty=True)
        elif not post.ends_at:
            _log.error(
                "worker %d takes %s bytes of memory, more than %s: it is replaced", slot, f"{used:,}", f"{limit:,}"
            )
            post.ends_at = now + self._limits.drain_seconds + _DRAIN_PATIENCE_SECONDS
            post.worker.end()

    def _kill(self, slot: int, post: _Post, why: str, *, guilty: bool = False) -> None:
        _log.error("worker %d is replaced: %s", slot, why)
        post.guilty = guilty
        post.ready = False
        post.worker.process.kill()

    def _accuse(self, post: _Post, signs: Signs) -> None:
        """Remember what ran when a worker ended, if it can be the reason."""
        code = post.worker.process.returncode
        runs = signs.runs()
        if code == EXIT_STUCK or post.guilty:
            now = time.monotonic_ns()
            stuck = [run for run in runs if now - run.began_ns > 1e9 * self._limits.answer_seconds]
            runs = stuck or runs
        elif not (-code in _CRASHES or code > 0):
            return
        self._suspects.accuse(runs)

    # -- the stand-in --------------------------------------------------------------------------------------------------

    def _ways(self) -> list[socket.socket]:
        with self._lock:
            return [way for post in self._posts.values() if post.well and (way := post.worker.way) is not None]

    def _follow(self) -> None:
        """Have the stand-in do what there is to do."""
        if self._stand_in is None or self._closing.is_set():
            return
        with self._following:
            with self._lock:
                well = {slot % len(self._listeners) for slot, post in self._posts.items() if post.well}
            accept = [listener for number, listener in enumerate(self._listeners) if number not in well]
            wanted = accept, self._ways()
            if wanted != self._followed or self._stand_in.engaged:
                self._followed = wanted
                self._stand_in.follow(*wanted)

    def _count(self, protocol: str, status: int) -> None:
        """Count what the stand-in answers, beside what the workers count; called in its thread alone."""
        if self._meter is None:
            try:
                self._meter = Meter(meter_file(self._counters, "stand-in"), works=False)
            except OSError:  # temporary files were removed: the workers' are gone as well
                return
        self._meter.turned(protocol, str(status))

    def _readiness(self) -> tuple[bool, str]:
        if self._draining:
            return False, "The server is shutting down."
        posts = list(self._posts.values())
        if any(post.serves and post.silent < NOT_READY_SECONDS for post in posts):
            return True, ""
        if any(post.serves for post in posts):
            return False, "All workers are busy; try again."
        return False, "A worker is being replaced; try again."

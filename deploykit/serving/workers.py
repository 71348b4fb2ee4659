"""Starts, watches, restarts and ends the worker processes of a server."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from deploykit.core import errors
from deploykit.core.serial import dump, parse
from deploykit.runtimes._contract import Runtime
from deploykit.sandbox.groups._contract import GROUPS
from deploykit.sandbox.task import parent_paths
from deploykit.serving.worker import DRAIN

#: Time a worker may take until it is ready; TensorFlow on a busy machine takes most of a minute.
START_SECONDS = 180.0
#: Time beyond that for requests in progress before a worker is killed.
_STOP_SECONDS = 2.0
#: A worker that lived this long has proved itself: its end is an accident, not a pattern.
_SETTLED_SECONDS = 10.0
#: Longest time before a worker that keeps dying is started again.
_MOST_BACKOFF_SECONDS = 10.0


def _appending(log: Path) -> IO[bytes]:
    """The log; nowhere when its folder cannot be made again, once old temporary files were removed."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return log.open("ab")
    except OSError:
        return Path(os.devnull).open("ab")


class WorkerDeath(errors.ServeError):
    """A worker ended for an unknown reason."""


class Worker:
    """One worker process.

    Args:
        listeners: Sockets it inherits, by protocol, that of HTTP by ""; none where sockets cannot be inherited.
        runtime: Its modules are imported while the artifact is being checked.
        log: File for what it prints.
        slot: Its number among the server's workers.
    """

    def __init__(self, listeners: Mapping[str, socket.socket], runtime: Runtime, log: Path, slot: int) -> None:
        paths = os.pathsep.join(p for p in parent_paths() if Path(p).is_dir())
        self._listeners = {name: one.fileno() for name, one in listeners.items()}
        self._log = log
        self._slot = slot
        with _appending(log) as output:
            self.process = subprocess.Popen(  # noqa: S603  our own interpreter
                [sys.executable, "-m", "deploykit.serving.worker", *runtime.requires],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env={
                    **GROUPS.get(runtime.group).variables(),
                    "PYTHONPATH": paths,
                    "PYTHONUNBUFFERED": "1",
                    "PYTHONSAFEPATH": "1",
                },
                pass_fds=tuple(self._listeners.values()),
                start_new_session=os.name == "posix",  # Ctrl-C in a terminal reaches the parent alone
            )

    def order(self, order: dict[str, Any]) -> None:
        """Say what to serve."""
        stream = self._stream(self.process.stdin)
        with contextlib.suppress(OSError):  # a dead worker is noticed by ready()
            stream.write(dump({**order, "sockets": self._listeners, "slot": self._slot}) + b"\n")
            stream.flush()

    def ready(self) -> None:
        """Wait until it serves.

        Raises:
            WorkerDeath: It ended without a word.
            DeploykitError: What kept it from serving.
        """
        timer = threading.Timer(START_SECONDS, self.process.kill)
        timer.start()
        try:
            line = self._stream(self.process.stdout).readline()
        except ValueError:  # closed by stop()
            line = b""
        finally:
            timer.cancel()
        if not line:
            code = self.process.wait()
            raise WorkerDeath(f"A worker exited during startup (status {code}).", log=str(self._log))
        answer = parse(line)
        if "error" in answer:
            error = errors.from_json(answer["error"])
            error.log = error.log or str(self._log)
            raise error

    def drain(self) -> None:
        """Have it say that it is not ready, while it still answers."""
        with contextlib.suppress(OSError, ValueError):
            stream = self._stream(self.process.stdin)
            stream.write(DRAIN)
            stream.flush()

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.end()

    def end(self) -> None:
        """Ask it to end; does not wait."""
        with contextlib.suppress(OSError):
            self._stream(self.process.stdin).close()

    def join(self, deadline: float) -> None:
        """Wait until it has ended; kill it at ``deadline`` (of ``time.monotonic``)."""
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._stream(self.process.stdout).close()

    @staticmethod
    def _stream(stream: IO[bytes] | None) -> IO[bytes]:
        assert stream is not None
        return stream


class Workers:
    """The workers of one server, each with a thread that restarts it when it dies.

    Args:
        listeners: By protocol, that of HTTP by "": one socket for each worker, or one for all; empty where sockets
            cannot be inherited.
        count: How many workers.
        runtime: Its modules are what they import first.
        log: File for what they print.
        on_failure: Called from a thread of its own when a worker is given up.

    Attributes:
        failure: Why a worker was given up; None while all is well.
        restarts: How often a worker was started again.
    """

    def __init__(
        self,
        listeners: Mapping[str, Sequence[socket.socket]],
        count: int,
        runtime: Runtime,
        log: Path,
        on_failure: Callable[[], None],
    ) -> None:
        self._listeners = {name: tuple(some) for name, some in listeners.items() if some}
        self._runtime = runtime
        self._log = log
        self._on_failure = on_failure
        self._order: dict[str, Any] = {}
        self._stopping = threading.Event()
        self._serving = False
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self.failure: errors.DeploykitError | None = None
        self.restarts = 0
        self._workers: list[Worker] = []
        try:
            for slot in range(count):
                self._workers.append(self._start(slot))
        except OSError as error:
            self.stop(0.0)
            raise errors.ServeError(f"Cannot start a worker: {error.strerror}.") from error

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers, in their slots' order."""
        with self._lock:
            return tuple(w.process.pid for w in self._workers)

    @property
    def alive(self) -> bool:
        """Whether all workers run."""
        with self._lock:
            running = all(w.process.poll() is None for w in self._workers)
        return running and self.failure is None and not self._stopping.is_set()

    def serve(self, order: dict[str, Any]) -> None:
        """Let all workers serve, and wait until they do.

        Raises:
            DeploykitError: One of them could not.
        """
        self._order = order
        for worker in self._workers:
            worker.order(order)
        for worker in self._workers:
            worker.ready()
        self._serving = True
        for slot in range(len(self._workers)):
            thread = threading.Thread(target=self._keep, args=(slot,), name=f"deploykit-serve-{slot}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def drain(self) -> None:
        """Have all workers say that they are not ready; requests are still answered."""
        with self._lock:
            for worker in self._workers:
                worker.drain()

    def stop(self, seconds: float) -> None:
        """End all workers, and return when no process is left.

        Args:
            seconds: Time for requests in progress; workers that have not begun to serve are ended at once.
        """
        self._stopping.set()
        with self._lock:
            workers = list(self._workers)
        for worker in workers:
            if self._serving:
                worker.end()
            else:
                worker.kill()
        deadline = time.monotonic() + seconds + _STOP_SECONDS
        for worker in workers:
            worker.join(deadline)
        for thread in self._threads:
            thread.join()

    def _start(self, slot: int) -> Worker:
        own = {name: some[slot % len(some)] for name, some in self._listeners.items()}
        return Worker(own, self._runtime, self._log, slot)

    def _keep(self, slot: int) -> None:
        """Restart a worker whenever it dies, ever later; give up when it says why it cannot.

        However often it dies, it is started again: requests can be the reason, and must not be able to end the server.
        """
        failures, started = 0, time.monotonic()
        while True:
            self._workers[slot].process.wait()
            failures = 1 if time.monotonic() - started > _SETTLED_SECONDS else failures + 1
            pause = 0.0 if failures == 1 else min(0.1 * 2 ** min(failures, 10), _MOST_BACKOFF_SECONDS)
            if self._stopping.wait(pause):
                return
            with self._lock:
                if self._stopping.is_set():
                    return
                self._workers[slot].end()
                self._workers[slot].join(time.monotonic())
                self._workers[slot] = worker = self._start(slot)
                self.restarts += 1
            started = time.monotonic()
            worker.order(self._order)
            try:
                worker.ready()
            except WorkerDeath:
                continue
            except errors.DeploykitError as error:
                self._give_up(error)
                return

    def _give_up(self, error: errors.DeploykitError) -> None:
        """End the whole server: connections that the kernel gives to a worker that never comes back would hang."""
        with self._lock:
            if self._stopping.is_set() or self.failure is not None:
                return
            self.failure = error
        threading.Thread(target=self._on_failure, name="deploykit-serve-failed", daemon=True).start()

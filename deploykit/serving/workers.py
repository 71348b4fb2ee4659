"""Starts, watches, restarts and ends the worker processes of a server."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import queue
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

#: Time a worker may take until it is ready; TensorFlow on a busy machine takes most of a minute.
START_SECONDS = 180.0
#: Time beyond that for requests in progress before a worker is killed.
_STOP_SECONDS = 2.0
#: A worker that lived this long has proved itself: its end is an accident, not a pattern.
_SETTLED_SECONDS = 10.0
#: How often a worker may end while it changes what it serves, until the change is given up.
_TRIES = 3
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


#: Does what a client wants done to the server: what, and with which arguments → what there is to say.
Control = Callable[[str, dict[str, Any]], Any]


class Worker:
    """One worker process.

    Args:
        listeners: Sockets it inherits, by protocol, that of HTTP by ""; none where sockets cannot be inherited.
        runtimes: Their modules are imported while the artifacts are being checked.
        log: File for what it prints.
        slot: Its number among the server's workers.
        control: Does what its clients want done to the server; called in threads of their own.
    """

    def __init__(
        self,
        listeners: Mapping[str, socket.socket],
        runtimes: Sequence[Runtime],
        log: Path,
        slot: int,
        control: Control,
    ) -> None:
        paths = os.pathsep.join(p for p in parent_paths() if Path(p).is_dir())
        variables: dict[str, str] = {}
        for runtime in runtimes:
            variables |= GROUPS.get(runtime.group).variables()
        modules = dict.fromkeys(module for runtime in runtimes for module in runtime.requires)
        self._control = control
        self._writing = threading.Lock()
        self._numbers = itertools.count()
        #: What it says of a change, by the change's number; None: it has ended.
        self._changes: dict[int, queue.SimpleQueue[list[dict[str, Any]] | None]] = {}
        #: The first line it says: that it serves, or why it does not; None: it has ended before that.
        self._first: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._ended = False
        self._listeners = {name: one.fileno() for name, one in listeners.items()}
        self._log = log
        self._slot = slot
        with _appending(log) as output:
            self.process = subprocess.Popen(  # noqa: S603  our own interpreter
                [sys.executable, "-m", "deploykit.serving.worker", *modules],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env={
                    **variables,
                    "PYTHONPATH": paths,
                    "PYTHONUNBUFFERED": "1",
                    "PYTHONSAFEPATH": "1",
                },
                pass_fds=tuple(self._listeners.values()),
                start_new_session=os.name == "posix",  # Ctrl-C in a terminal reaches the parent alone
            )
        threading.Thread(target=self._listen, name=f"deploykit-worker-{slot}", daemon=True).start()

    def order(self, order: dict[str, Any]) -> None:
        """Say what to serve; a dead worker is noticed by `ready`."""
        self._say({**order, "sockets": self._listeners, "slot": self._slot})

    def _say(self, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError, ValueError), self._writing:
            stream = self._stream(self.process.stdin)
            stream.write(dump(message) + b"\n")
            stream.flush()

    def ready(self) -> None:
        """Wait until it serves.

        Raises:
            WorkerDeath: It ended without a word.
            DeploykitError: What kept it from serving.
        """
        try:
            answer = self._first.get(timeout=START_SECONDS)
        except queue.Empty:
            self.process.kill()
            answer = None
        if answer is None:
            code = self.process.wait()
            raise WorkerDeath(f"A worker exited during startup (status {code}).", log=str(self._log))
        if "error" in answer:
            error = errors.from_json(answer["error"])
            error.log = error.log or str(self._log)
            raise error

    def become(self, state: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        """Have it serve something else, and wait until it does.

        Returns:
            What could not be loaded, see `Holder.become`; None: it has ended.
        """
        number = next(self._numbers)
        answer: queue.SimpleQueue[list[dict[str, Any]] | None] = queue.SimpleQueue()
        self._changes[number] = answer
        if self._ended:
            answer.put(None)
        self._say({"number": number, "state": state})
        try:
            return answer.get(timeout=START_SECONDS)
        except queue.Empty:
            self.process.kill()
            return None
        finally:
            del self._changes[number]

    def _listen(self) -> None:
        """Read what it says, until it ends."""
        with contextlib.suppress(OSError, ValueError), self._stream(self.process.stdout) as stream:
            for text in stream:
                line = parse(text)
                if "became" in line:
                    if (answer := self._changes.get(line["became"])) is not None:
                        answer.put(line["failed"])
                elif "ask" in line:
                    threading.Thread(target=self._do, args=(line,), name="deploykit-control", daemon=True).start()
                else:
                    self._first.put(line)
        self._ended = True
        self._first.put(None)
        for answer in list(self._changes.values()):
            answer.put(None)

    def _do(self, line: dict[str, Any]) -> None:
        try:
            self._say({"reply": line["ask"], "said": self._control(line["what"], line["arguments"])})
        except Exception as error:
            if not isinstance(error, errors.DeploykitError):
                logging.getLogger("deploykit.serving").exception("%s failed", line["what"])
                error = errors.ServeError("The server could not do it; its log has the details.")
            self._say({"reply": line["ask"], "error": errors.to_json(error)})

    def drain(self) -> None:
        """Have it say that it is not ready, while it still answers."""
        self._say({"drain": True})

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.end()

    def end(self) -> None:
        """Ask it to end; does not wait."""
        with contextlib.suppress(OSError, ValueError):
            self._stream(self.process.stdin).close()

    def join(self, deadline: float) -> None:
        """Wait until it has ended; kill it at ``deadline`` (of ``time.monotonic``)."""
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

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
        runtimes: Their modules are what they import first.
        log: File for what they print.
        control: Does what clients want done to the server.
        on_failure: Called from a thread of its own when a worker is given up.

    Attributes:
        failure: Why a worker was given up; None while all is well.
        restarts: How often a worker was started again.
    """

    def __init__(
        self,
        listeners: Mapping[str, Sequence[socket.socket]],
        count: int,
        runtimes: Sequence[Runtime],
        log: Path,
        control: Control,
        on_failure: Callable[[], None],
    ) -> None:
        self._listeners = {name: tuple(some) for name, some in listeners.items() if some}
        self._runtimes = runtimes
        self._log = log
        self._control = control
        self._on_failure = on_failure
        self._order: dict[str, Any] = {}
        self._stopping = threading.Event()
        self._serving = False
        #: Guards the list of workers; told of each new one.
        self._replaced = threading.Condition()
        #: Held while what is served changes.
        self._changing = threading.Lock()
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
        with self._replaced:
            return tuple(w.process.pid for w in self._workers)

    @property
    def alive(self) -> bool:
        """Whether all workers run."""
        with self._replaced:
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

    def become(self, state: dict[str, Any]) -> list[dict[str, Any]]:
        """Have all workers serve something else, and wait until they do; those restarted from now on serve it as well.

        Returns:
            What some worker could not load, see `Holder.become`, or a worker's end, without name and version. If there
            is any, all serve what they did before.
        """
        with self._changing:
            done: list[int] = []
            for slot in range(len(self._workers)):
                if failed := self._change(slot, state):
                    for other in done:
                        self._change(other, self._order["state"])
                    return failed
                done.append(slot)
            self._order = {**self._order, "state": state}
        return []

    def _change(self, slot: int, state: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Have one worker serve something else; one that ends meanwhile may have had other reasons."""
        for _ in range(_TRIES):
            with self._replaced:
                worker = self._workers[slot]
            answer = worker.become(state)
            if answer is not None or self._stopping.is_set():
                return answer or []
            end = time.monotonic() + START_SECONDS
            with self._replaced:
                while self._workers[slot] is worker and not self._stopping.is_set() and time.monotonic() < end:
                    self._replaced.wait(1.0)
        return [{"error": errors.to_json(WorkerDeath("Workers ended while they loaded it.", log=str(self._log)))}]

    def drain(self) -> None:
        """Have all workers say that they are not ready; requests are still answered."""
        with self._replaced:
            for worker in self._workers:
                worker.drain()

    def stop(self, seconds: float) -> None:
        """End all workers, and return when no process is left.

        Args:
            seconds: Time for requests in progress; workers that have not begun to serve are ended at once.
        """
        self._stopping.set()
        with self._replaced:
            self._replaced.notify_all()
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
        return Worker(own, self._runtimes, self._log, slot, self._control)

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
            with self._replaced:
                if self._stopping.is_set():
                    return
                self._workers[slot].end()
                self._workers[slot].join(time.monotonic())
                self._workers[slot] = worker = self._start(slot)
                self._replaced.notify_all()
                self.restarts += 1
            started = time.monotonic()
            ordered = self._order
            worker.order(ordered)
            try:
                worker.ready()
            except WorkerDeath:
                continue
            except errors.DeploykitError as error:
                self._give_up(error)
                return
            with self._changing:
                if self._order is not ordered:  # a change was over before this worker was there
                    worker.become(self._order["state"])

    def _give_up(self, error: errors.DeploykitError) -> None:
        """End the whole server: connections that the kernel gives to a worker that never comes back would hang."""
        with self._replaced:
            if self._stopping.is_set() or self.failure is not None:
                return
            self.failure = error
        threading.Thread(target=self._on_failure, name="deploykit-serve-failed", daemon=True).start()

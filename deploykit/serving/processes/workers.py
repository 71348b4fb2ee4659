"""Starts, watches, restarts and ends the worker processes of a server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deploykit.core import errors
from deploykit.runtimes._contract import Runtime
from deploykit.serving.processes.process import START_SECONDS, Control, Worker, WorkerDeath
from deploykit.serving.processes.watch import Watch

#: Time beyond that for requests in progress before a worker is killed.
_STOP_SECONDS = 2.0
#: A worker that lived this long has proved itself: its end is an accident, not a pattern.
_SETTLED_SECONDS = 10.0
#: How often a worker may end while it changes what it serves, until the change is given up.
_TRIES = 3
#: Longest time before a worker that keeps dying is started again.
_MOST_BACKOFF_SECONDS = 10.0


class Workers:
    """The workers of one server, each with a thread that restarts it when it dies.

    Args:
        listeners: By protocol, that of HTTP by "": one socket for each worker, or one for all; empty where sockets
            cannot be inherited.
        count: How many workers.
        runtimes: Their modules are what they import first.
        log: File for what they print.
        control: Does what clients want done to the server.
        watch: Watches them.
        on_failure: Called from a thread of its own when a worker is given up.

    Attributes:
        failure: Why a worker was given up; None while all is well.
        restarts: How often a worker was started again.
        serving: Whether they have begun to answer.
    """

    def __init__(
        self,
        listeners: Mapping[str, Sequence[socket.socket]],
        count: int,
        runtimes: Sequence[Runtime],
        log: Path,
        control: Control,
        watch: Watch,
        on_failure: Callable[[], None],
    ) -> None:
        self._listeners = {name: tuple(some) for name, some in listeners.items() if some}
        self._count = count
        self._runtimes = runtimes
        self._log = log
        self._control = control
        self._watch = watch
        self._on_failure = on_failure
        self._order: dict[str, Any] = {}
        self._stopping = threading.Event()
        self.serving = False
        #: Guards the list of workers; told of each new one.
        self._replaced = threading.Condition()
        #: Held while what is served changes.
        self._changing = threading.Lock()
        self._threads: list[threading.Thread] = []
        self.failure: errors.DeploykitError | None = None
        self.restarts = 0
        self._workers: list[Worker] = []

    def start(self) -> None:
        """Start them; they import what they need, and wait for what to serve.

        Raises:
            ServeError: There cannot be another process.
        """
        try:
            for slot in range(self._count):
                self._workers.append(self._start(slot))
        except OSError as error:
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
            self._watch.check_fits(worker)
        self.serving = True
        for slot, worker in enumerate(self._workers):
            worker.go()
            self._watch.ready(slot)
        self._watch.begin(self._listeners)
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

    def tell(self, message: Mapping[str, Any]) -> None:
        """Tell all workers something that they do not answer."""
        with self._replaced:
            for worker in self._workers:
                worker.tell(message)

    def drain(self) -> None:
        """Have all workers say that they are not ready; requests are still answered."""
        self._watch.drain()
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
            if self.serving:
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
        worker = Worker(own, self._runtimes, self._log, slot, self._control)
        self._watch.started(slot, worker)
        return worker

    def _keep(self, slot: int) -> None:
        """Restart a worker whenever it dies, ever later; give up when it says why it cannot.

        However often it dies, it is started again: requests can be the reason, and must not be able to end the server.
        """
        failures, started = 0, time.monotonic()
        while True:
            self._workers[slot].process.wait()
            self._watch.ended(slot)
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
                worker.go()
                self._watch.ready(slot)
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

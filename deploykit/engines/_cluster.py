"""The driver's view of a Dask cluster: which of its workers take tasks, and how calls and units reach them.

Dask carries the calls, counts the slots for all drivers, and tells who is connected. Besides, busy workers are pinged:
one that does not answer is lost, even if its connection still stands, whatever ``worker-ttl`` the scheduler has.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from typing import Any

from deploykit._version import __version__
from deploykit.core.errors import Cancelled, EngineError
from deploykit.engines import _dask_worker
from deploykit.engines import _worker as remote
from deploykit.engines._contract import OnReport
from deploykit.engines._fleet import HELLO_S, PATIENCE_S, Fleet, Member, WorkerLost

#: The Dask resource that counts how many tasks a worker takes; other resources are devices.
SLOT = "slot"
_LOOK_S = 1.0
_PING_S = 8.0
_TELL_S = 2.0
_POLL_S = 0.2
_START = 'start workers with: deploykit worker {address}  (or: dask worker {address} --resources "slot=2")'
_LOG = logging.getLogger(__name__)


class Cluster(Fleet):
    """The workers of a cluster. Thread-safe.

    Args:
        client: A connected, synchronous ``distributed.Client``.

    Raises:
        EngineError: No worker offers slots, or has deploykit in this version.
    """

    def __init__(self, client: Any) -> None:
        super().__init__()
        self._client = client
        self._stop = threading.Event()
        self._topic = f"deploykit-{uuid.uuid4().hex}"
        self._latest: dict[str, tuple[float, float, str]] = {}
        self._look()
        address = client.scheduler.address
        self._refuse()
        if not self.members:
            raise EngineError(
                f"No worker of the Dask cluster at {address} offers the resource {SLOT!r}.",
                remedy=_START.format(address=address) + ".",
            )
        client.subscribe_topic(self._topic, self._hear)
        self._watcher = threading.Thread(target=self._watch, name="deploykit-cluster", daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """Stop watching and listening."""
        with contextlib.suppress(Exception):  # the connection may be closed
            self._client.unsubscribe_topic(self._topic)
        self._stop.set()
        self._watcher.join()

    def to_offer(self, device: str) -> str:
        """What to do where no worker offers a device."""
        return (
            f"start a worker with that device as a Dask resource (deploykit worker ADDRESS --device {device}), "
            "or leave the device out of the space."
        )

    def check(self) -> None:
        """Raise when the scheduler is gone.

        Raises:
            EngineError: It is.
        """
        if self._client.status in {"closing", "closed"}:
            self.failed = self.failed or "the connection to the Dask scheduler is lost"
        if self.failed:
            raise EngineError(
                f"{self.failed}.", remedy="start it and its workers, then rerun the sweep: finished work is kept."
            )

    # -- calls ------------------------------------------------------------------------------------------------------

    def call(self, member: Member, function: Callable[..., Any], *arguments: Any, timeout_s: float = 60.0) -> Any:
        """Call a function of `deploykit.engines._worker` in a member.

        Raises:
            WorkerLost: It does not answer.
        """
        waiting = self._begin(member.address, function, arguments)
        end = time.monotonic() + timeout_s
        try:
            while True:
                if member.lost:
                    raise WorkerLost(member.lost)
                try:
                    return waiting.result(_POLL_S)
                except concurrent.futures.TimeoutError as error:
                    if waiting.done() or time.monotonic() > end:
                        raise WorkerLost("it does not answer (TimeoutError)") from error
        except (OSError, KeyError) as error:  # Dask's CommClosedError is an OSError
            raise WorkerLost(f"it does not answer ({type(error).__name__})") from error
        finally:
            waiting.cancel()

    def tell(self, members: Collection[Member], function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function in some members, all at once; those that do not answer soon are passed over."""
        waiting = [self._begin(m.address, function, arguments) for m in members if not m.lost]
        concurrent.futures.wait(waiting, _TELL_S)
        for one in waiting:
            one.cancel()

    def _begin(
        self, address: str, function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> concurrent.futures.Future[Any]:
        async def ask() -> Any:
            return (await self._client._run(function, *arguments, workers=[address]))[address]

        return asyncio.run_coroutine_threadsafe(ask(), self._client.loop.asyncio_loop)

    # -- who is there -----------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        silent_since: float | None = None
        while not self._stop.wait(_LOOK_S):
            try:
                self._look()
                silent_since = None
            except Exception as error:  # the client raises various things when it is closed
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > PATIENCE_S / 2:
                    self.failed = f"the Dask scheduler no longer answers ({type(error).__name__})"

    def _look(self) -> None:
        """Compare the members with the scheduler's workers, and ping those that work or were lost."""
        info = self._client.sync(self._client.scheduler.identity, n_workers=-1, callback_timeout=_PING_S)
        workers = {a: w for a, w in info["workers"].items() if w.get("resources", {}).get(SLOT, 0) >= 1}
        for address in workers:
            if address not in self.members and address not in self.refused:
                self._welcome(address, workers[address]["resources"])
        timing = set(self._reserved)
        asked = [a for a, m in self.members.items() if a in workers and (m.busy or m.lost or m.machine in timing)]
        answers = self._ping(asked)
        with self._change:
            for member in self.members.values():
                gone = "its connection to the scheduler is closed" if member.address not in workers else ""
                member.lost = gone or answers.get(member.address, "")
            self._change.notify_all()

    def _welcome(self, address: str, resources: dict[str, float]) -> None:
        tools = dict(self._tools)
        try:
            found = self._begin(address, remote.hello, ()).result(HELLO_S)
            theirs = self._begin(address, remote.versions, ([t.to_json() for t in tools],)).result(HELLO_S)
        except (ImportError, AttributeError) as error:
            self.refused[address] = f"the worker {address} has no deploykit {__version__} ({error})"
            return
        except (OSError, TimeoutError, KeyError):
            return  # it comes or goes: asked again at the next look
        if problem := self._differs(found, theirs):
            self.refused[address] = f"the worker {address} on {found['host']} has {problem}"
            _LOG.warning("not used: %s", self.refused[address])
            return
        devices = frozenset({"cpu", *(name for name, count in resources.items() if name != SLOT and count >= 1)})
        with self._change:
            self.members[address] = Member(
                address, int(resources[SLOT]), devices, found["host"], found["machine"], found["shelf"], found["facts"]
            )

    def _ping(self, addresses: list[str]) -> dict[str, str]:
        """Address → why it is lost, for those that do not answer."""

        async def ask(address: str) -> str:
            try:
                await asyncio.wait_for(self._client._run(remote.ping, workers=[address]), _PING_S)
            except (OSError, TimeoutError, KeyError) as error:
                return f"it does not answer ({type(error).__name__})"
            return ""

        async def ask_all() -> list[str]:
            return await asyncio.gather(*(ask(a) for a in addresses))

        return dict(zip(addresses, self._client.sync(ask_all), strict=True))

    # -- units ------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def execute(
        self, member: Member, unit: remote.Unit, cancel: threading.Event, on_report: OnReport | None
    ) -> Iterator[dict[str, Any]]:
        """What `deploykit.engines._worker.run_unit` answers in a member, as a Dask task."""
        resources = {SLOT: member.slots if unit.exclusive else 1} | dict.fromkeys(unit.task.devices, 1)
        future = self._submit(
            _dask_worker.run, unit.to_json(), self._topic, key=unit.name, pure=False, workers=[member.address],
            resources=resources, retries=0,
        )  # fmt: skip
        try:
            yield self._wait(member, unit, future, cancel, on_report)
        finally:
            self._latest.pop(unit.name, None)
            with contextlib.suppress(Exception):  # the connection may be closed
                future.cancel()

    def _hear(self, event: tuple[Any, dict[str, Any]]) -> None:
        """In the client's event loop: only note what is said."""
        self._latest[event[1]["unit"]] = tuple(event[1]["report"])

    def _submit(self, function: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return self._client.submit(function, *arguments, **options)
        except Exception as error:  # the connection was closed just now
            raise WorkerLost(f"work cannot be sent to it ({type(error).__name__})") from error

    def _wait(
        self, member: Member, unit: remote.Unit, future: Any, cancel: threading.Event, on_report: OnReport | None
    ) -> dict[str, Any]:
        finished = threading.Event()
        future.add_done_callback(lambda _future: finished.set())
        told = None
        while not finished.wait(_POLL_S):
            if cancel.is_set():
                raise Cancelled(f"Cancelled during {unit.task.name or unit.task.function}.")
            if member.lost or self.failed:
                raise WorkerLost(member.lost or self.failed)
            latest = self._latest.get(unit.name)
            if on_report is not None and latest is not None and latest is not told:
                told = latest
                on_report(*latest)
        if future.status == "finished":
            try:
                answer: dict[str, Any] = self._client.sync(self._client._gather, future, callback_timeout=60.0)
            except Exception as error:  # the worker died with the answer
                raise WorkerLost(f"its answer was lost ({type(error).__name__})") from error
            return answer
        if future.status == "error" and type(future.exception()).__name__ != "KilledWorker":
            cause = future.exception()
            raise EngineError(
                f"The worker {member.address} failed in {unit.task.name}: {type(cause).__name__}: {cause}.",
                remedy="check the worker's log.",
            )
        raise WorkerLost(f"Dask gave up on its task ({future.status})")

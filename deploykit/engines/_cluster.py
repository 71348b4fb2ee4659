"""The driver's view of a Dask cluster: who is there, who is lost, who gets the next task.

The driver places tasks itself: it knows which machine has which files, keeps a machine free while it times, and can
give a lost worker's task to another one at once, whatever ``worker-ttl`` the scheduler has. Dask carries the calls,
counts the slots for all drivers, and tells who is connected. Besides, busy workers are pinged: one that does not
answer is lost, even if its connection still stands.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from deploykit._version import __version__
from deploykit.core.digest import json_digest
from deploykit.core.errors import Cancelled, EngineError
from deploykit.core.tools import Tool
from deploykit.engines import _worker as remote

#: The Dask resource that counts how many tasks a worker takes; other resources are devices.
SLOT = "slot"
_LOOK_S = 1.0
_PING_S = 8.0
_HELLO_S = 30.0
_TELL_S = 2.0
_POLL_S = 0.2
#: How long a task waits while no worker can take it.
PATIENCE_S = 60.0
_START = 'start workers with: deploykit worker {address}  (or: dask worker {address} --resources "slot=2")'
_LOG = logging.getLogger(__name__)


class WorkerLost(Exception):  # noqa: N818  like Cancelled, it is not a fault
    """A worker does not answer any more."""


@dataclass
class Member:
    """A worker that takes our tasks.

    Attributes:
        address: Its address.
        slots: Its slots.
        devices: The devices it offers, ``"cpu"`` among them.
        host: Name of its host.
        machine: Identity of the machine: equal for all workers on it.
        shelf: Identity of the folder in which it keeps files.
        facts: Facts of its hardware.
        busy: Slots in use by this driver.
        lost: Why it is not used any more; "" while it is.
    """

    address: str
    slots: int
    devices: frozenset[str]
    host: str
    machine: str
    shelf: str
    facts: dict[str, Any]
    busy: int = 0
    lost: str = ""

    @property
    def hardware(self) -> str:
        """Digest of its facts: members that agree in it may time for the same front."""
        return json_digest(self.facts)


class Cluster:
    """Members and their slots. Thread-safe.

    Args:
        client: A connected, synchronous ``distributed.Client``.

    Raises:
        EngineError: No worker offers slots, or has deploykit in this version.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._tools: dict[Tool, dict[str, str]] = {}
        self.members: dict[str, Member] = {}
        self.failed = ""
        self._refused: dict[str, str] = {}
        self._change = threading.Condition()
        self._reserved: set[str] = set()
        self._timing_machine = ""
        self._stop = threading.Event()
        self._look()
        address = client.scheduler.address
        self._refuse()
        if not self.members:
            raise EngineError(
                f"No worker of the Dask cluster at {address} offers the resource {SLOT!r}.",
                remedy=_START.format(address=address) + ".",
            )
        self._watcher = threading.Thread(target=self._watch, name="deploykit-cluster", daemon=True)
        self._watcher.start()

    def _refuse(self) -> None:
        if self._refused:
            raise EngineError(
                "; ".join(self._refused.values()) + ".",
                remedy="install the same versions on the workers as here, and restart them.",
            )

    def require(self, tools: Collection[Tool]) -> None:
        """From now on use only workers that have the packages of these adapters in the versions that are here.

        Raises:
            EngineError: A worker that is there has others; names them.
        """
        new = {tool: tool.versions() for tool in sorted(tools) if tool not in self._tools}
        if not new:
            return
        self._tools |= new
        for member in self.usable:
            try:
                found = self.call(member, remote.versions, [tool.to_json() for tool in new], timeout_s=_HELLO_S)
            except WorkerLost:
                continue  # if it comes back it is asked for everything
            if wrong := _differing(new, found):
                self._refused[member.address] = f"the worker {member.address} on {member.host} has {wrong}"
        with self._change:
            for address in self._refused:
                self.members.pop(address, None)
        self._refuse()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._watcher.join()

    @property
    def slots(self) -> int:
        """Slots of all members."""
        return sum(m.slots for m in self.usable)

    @property
    def usable(self) -> list[Member]:
        """Members that are not lost."""
        return [m for m in list(self.members.values()) if not m.lost]

    def offered(self) -> str:
        """The members and what they offer, in words."""

        def show(member: Member) -> str:
            slots = f"{member.slots} slot{'s' if member.slots > 1 else ''}"
            return f"{member.address} ({', '.join(sorted(member.devices))}; {slots})"

        return "; ".join(map(show, self.usable)) or "no worker"

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
            if address not in self.members and address not in self._refused:
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
            found = self._begin(address, remote.hello, ()).result(_HELLO_S)
            theirs = self._begin(address, remote.versions, ([t.to_json() for t in tools],)).result(_HELLO_S)
        except (ImportError, AttributeError) as error:
            self._refused[address] = f"the worker {address} has no deploykit {__version__} ({error})"
            return
        except (OSError, TimeoutError, KeyError):
            return  # it comes or goes: asked again at the next look
        other = (
            f"deploykit {found['version']}, this machine has {__version__}" if found["version"] != __version__ else ""
        )
        if problem := other or _differing(tools, theirs):
            self._refused[address] = f"the worker {address} on {found['host']} has {problem}"
            _LOG.warning("not used: %s", self._refused[address])
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

    # -- whose turn -------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def place(
        self, devices: Collection[str], cancel: threading.Event, near: Callable[[Member], int]
    ) -> Iterator[Member]:
        """A member with a free slot: the one with most of the files, then the least busy.

        Raises:
            Cancelled: ``cancel`` was set.
            EngineError: Nobody could take it for a minute.
        """

        def able() -> list[Member]:
            return [m for m in self.usable if m.devices >= set(devices)]

        def choose() -> Member | None:
            free = [m for m in able() if m.busy < m.slots and m.machine not in self._reserved]
            return max(free, key=lambda m: (near(m), m.slots - m.busy), default=None)

        with self._change:
            member = self._await(choose, able, devices, cancel)
            member.busy += 1
        try:
            yield member
        finally:
            with self._change:
                member.busy -= 1
                self._change.notify_all()

    @contextlib.contextmanager
    def place_alone(self, devices: Collection[str], hardware: str, cancel: threading.Event) -> Iterator[Member]:
        """A member whose machine does nothing else for this driver until it is given back.

        Launches stay on one machine while it lasts.

        Raises:
            Cancelled: ``cancel`` was set.
            EngineError: Nobody could take it for a minute.
        """

        def able() -> list[Member]:
            return [m for m in self.usable if m.devices >= set(devices) and m.hardware == hardware]

        def choose() -> Member | None:
            fit = [m for m in able() if m.machine not in self._reserved]
            return max(fit, key=lambda m: (m.machine == self._timing_machine, m.slots), default=None)

        def idle() -> bool | None:
            return all(m.busy == 0 for m in self.members.values() if m.machine == member.machine and not m.lost) or None

        with self._change:
            member = self._await(choose, able, devices, cancel)
            self._timing_machine = member.machine
            self._reserved.add(member.machine)
        try:
            with self._change:
                self._await(idle, able, devices, cancel)
            yield member
        finally:
            with self._change:
                self._reserved.discard(member.machine)
                self._change.notify_all()

    def neighbors(self, member: Member) -> list[Member]:
        """All members on a member's machine, itself included."""
        return [m for m in self.usable if m.machine == member.machine]

    def _await(
        self,
        find: Callable[[], Any],
        able: Callable[[], list[Member]],
        devices: Collection[str],
        cancel: threading.Event,
    ) -> Any:
        """Wait for ``find`` to find something, as long as some member is able; the lock is held."""
        since = time.monotonic()
        while (found := find()) is None:
            self.check()
            if cancel.is_set():
                raise Cancelled("Cancelled while waiting for a worker.")
            if able():
                since = time.monotonic()
            elif time.monotonic() - since > PATIENCE_S:
                wanted = ", ".join(sorted({"cpu", *devices}))
                raise EngineError(
                    f"No worker has offered {wanted} for {PATIENCE_S:.0f} s; there is {self.offered()}.",
                    remedy="start workers, then rerun the sweep: finished work is kept.",
                )
            self._change.wait(0.2)
        return found


def _differing(ours: dict[Tool, dict[str, str]], theirs: list[dict[str, str] | str]) -> str:
    """What a worker has in other versions than the driver, in words; "" when nothing differs."""
    wrong: dict[str, None] = {}
    for (tool, here), there in zip(ours.items(), theirs, strict=True):
        if isinstance(there, str):
            wrong[f"no {tool} ({there.rstrip('.')})"] = None
            continue
        for name in sorted({*here, *there}):
            if here.get(name, "") != there.get(name, ""):
                wrong[f"{name} {there.get(name) or 'missing'} (here {here.get(name) or 'missing'})"] = None
    return ", ".join(wrong)

"""The driver's view of machines that work for it: who is there, who is lost, who gets the next task.

The driver places tasks itself: it knows which machine has which files, keeps a machine free while it times, and can
give a lost worker's task to another one at once. How calls and units of work reach a machine is left to subclasses.
"""

from __future__ import annotations

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

from deploykit._version import __version__
from deploykit.core.digest import json_digest
from deploykit.core.errors import Cancelled, EngineError
from deploykit.core.tools import Tool
from deploykit.engines import _worker as remote
from deploykit.engines._contract import OnReport
from deploykit.engines._files import CHUNK_BYTES

#: How long a question to a worker may take, seconds.
HELLO_S = 30.0
#: How long a task waits while no worker can take it.
PATIENCE_S = 60.0


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


class Fleet(ABC):
    """Members and their slots. Thread-safe.

    Attributes:
        members: All members by their addresses, lost ones included.
        failed: Why nothing can be done any more; "" while it can.
        refused: Workers that are not used, and what they have that differs.
        chunk_bytes: Largest piece of a file in one call.
    """

    chunk_bytes: ClassVar[int] = CHUNK_BYTES

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.failed = ""
        self.refused: dict[str, str] = {}
        self._tools: dict[Tool, dict[str, str]] = {}
        self._change = threading.Condition()
        self._reserved: set[str] = set()
        self._timing_machine = ""

    # -- what a subclass fills --------------------------------------------------------------------------------------

    @abstractmethod
    def call(self, member: Member, function: Callable[..., Any], *arguments: Any, timeout_s: float = 60.0) -> Any:
        """Call a function of `deploykit.engines._worker` in a member.

        Raises:
            WorkerLost: It does not answer.
        """

    @abstractmethod
    def tell(self, members: Collection[Member], function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function in some members, all at once; those that do not answer soon are passed over."""

    @abstractmethod
    def execute(
        self, member: Member, unit: remote.Unit, cancel: threading.Event, on_report: OnReport | None
    ) -> AbstractContextManager[dict[str, Any]]:
        """What `deploykit.engines._worker.run_unit` answers in a member; until the end, what it has written is kept.

        Raises:
            WorkerLost: The worker is gone.
            Cancelled: ``cancel`` was set.
            EngineError: The worker cannot run units.
        """

    @abstractmethod
    def check(self) -> None:
        """Raise when nothing can be done any more.

        Raises:
            EngineError: Says why, and what to do.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop watching, and let the members go."""

    def to_install(self, wrong: Collection[str]) -> str:
        """What to do about workers that have other packages, given as ``name==version`` where one is known."""
        del wrong
        return "install the same versions on the workers as here, and restart them."

    @abstractmethod
    def to_offer(self, device: str) -> str:
        """What to do where nothing offers a device."""

    # -- who is there -----------------------------------------------------------------------------------------------

    def require(self, tools: Collection[Tool]) -> None:
        """From now on use only workers that have the packages of these adapters in the versions that are here.

        Raises:
            EngineError: A worker that is there has others; names them.
        """
        new = {tool: tool.versions() for tool in sorted(tools) if tool not in self._tools}
        if not new:
            return
        self._tools |= new
        wanted: dict[str, None] = {}
        for member in self.usable:
            try:
                found = self.call(member, remote.versions, [tool.to_json() for tool in new], timeout_s=HELLO_S)
            except WorkerLost:
                continue  # if it comes back it is asked for everything
            if wrong := differing(new, found):
                self.refused[member.address] = f"the worker {member.address} on {member.host} has {wrong}"
                wanted |= dict.fromkeys(lacking(new, found))
        with self._change:
            for address in self.refused:
                self.members.pop(address, None)
        self._refuse(wanted)

    def _refuse(self, wanted: Collection[str] = ()) -> None:
        if self.refused:
            said = "; ".join(self.refused.values())
            raise EngineError(f"{said[0].upper()}{said[1:]}.", remedy=self.to_install(wanted))

    def _differs(self, found: dict[str, Any], theirs: list[dict[str, str] | str]) -> str:
        """What a worker that has said hello has in other versions than this machine, in words; "" for nothing."""
        if found["version"] != __version__:
            return f"deploykit {found['version']}, this machine has {__version__}"
        return differing(self._tools, theirs)

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

    # -- whose turn -------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def place(
        self, devices: Collection[str], cancel: threading.Event, near: Callable[[Member], int]
    ) -> Iterator[Member]:
        """A member with a free slot: the one with most of the files, then the least busy.

        Raises:
            Cancelled: ``cancel`` was set.
            EngineError: No member could take it for a minute.
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
            EngineError: No member could take it for a minute.
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
                raise self._impatient(devices)
            self._change.wait(0.2)
        return found

    def _impatient(self, devices: Collection[str]) -> EngineError:
        """The error when no member was able to take a task for `PATIENCE_S`."""
        wanted = ", ".join(sorted({"cpu", *devices}))
        return EngineError(
            f"No worker has offered {wanted} for {PATIENCE_S:.0f} s; there is {self.offered()}.",
            remedy="start workers, then rerun the sweep: finished work is kept.",
        )


def differing(ours: dict[Tool, dict[str, str]], theirs: list[dict[str, str] | str]) -> str:
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


def lacking(ours: dict[Tool, dict[str, str]], theirs: list[dict[str, str] | str]) -> list[str]:
    """What a worker would need: ``name==version`` of each package that differs there."""
    return [
        f"{name}=={version}"
        for (_tool, here), there in zip(ours.items(), theirs, strict=True)
        for name, version in here.items()
        if version and (isinstance(there, str) or there.get(name, "") != version)
    ]

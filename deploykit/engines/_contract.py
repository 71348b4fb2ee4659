"""What an engine is: a place where tasks run, each in a supervised child process.

An engine may be remote. Tasks name the files they read and write; an engine that does not share this machine's disk
brings those to where the task runs, puts its own paths into the arguments, and brings the results back.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, ClassVar, Self, cast

from deploykit.core.adapter import Adapter, Group
from deploykit.core.errors import SettingError
from deploykit.core.registry import Registry
from deploykit.core.tools import Tool
from deploykit.sandbox.supervisor import Supervisor
from deploykit.sandbox.task import Report, Task, resolve

OnReport = Callable[[float, float, str], None]
HostFunction = Callable[[dict[str, Any], Report, "Host"], dict[str, Any]]

#: Facts of a host (CPU, cores, system): what keys a measurement beside the runtime's versions.
FACTS = "deploykit.measuring.environment:hardware"

#: Task that asks a runtime which devices of a host it can use.
DEVICES = "deploykit.measuring.devices:ask"


@dataclass(frozen=True)
class Host:
    """The machine a whole-machine task runs on, as its function sees it.

    Attributes:
        supervisor: Makes children on this machine.
        cancel: Set when the work is no longer wanted.
    """

    supervisor: Supervisor
    cancel: threading.Event


class Running:
    """An engine at work. Thread-safe.

    Attributes:
        slots: How many tasks run at once.
        cancel: Set it to kill what runs.
    """

    slots: int
    cancel: threading.Event

    @abstractmethod
    def submit(self, task: Task, on_report: OnReport | None = None) -> Future[dict[str, Any]]:
        """Run a task in a child when a slot is free; the future raises what the task raised."""

    @abstractmethod
    def exclusive(self, task: Task, on_report: OnReport | None = None) -> Future[dict[str, Any]]:
        """Run a task that owns a whole machine: no other task of this engine runs there meanwhile.

        Its function runs in the process that supervises the machine's children, as ``function(arguments, report,
        host)``; it raises `Cancelled` when ``host.cancel`` is set.
        """

    @abstractmethod
    def facts(self, device: str) -> dict[str, Any]:
        """Stable facts of the machines that exclusive tasks for a device run on: the same for all of them."""

    def require(self, devices: Collection[str], tools: Collection[Tool] = ()) -> None:
        """Called before the work, and again before work that needs more.

        Args:
            devices: All devices it needs.
            tools: All adapters it uses: machines that take its tasks must have their packages in the same versions.

        Raises:
            EngineError: No worker offers one of the devices (lists what is offered), or versions differ (names them).
        """

    @abstractmethod
    def warm(self, group: Group) -> None:
        """Begin to import what a group's children need, without waiting."""

    @abstractmethod
    def close(self) -> None:
        """Wait for what runs, and give everything back."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exception: object) -> None:
        if kind is not None:  # the results of what still runs are not needed
            self.cancel.set()
        self.close()


class Engine(Adapter):
    """Makes a `Running`.

    Attributes:
        has_workers: Whether `work` can make a machine one of its workers.
        schemes: Beginnings of addresses that are its own (``"tls"`` of ``tls://host:8786``) besides its name.
    """

    has_workers: ClassVar[bool] = False
    schemes: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def start(self, address: Any, cancel: threading.Event) -> Running:
        """Begin to work.

        Args:
            address: What follows the engine's name in ``engine="name://address"``, "" when nothing does; or an object
                the engine `takes`.
            cancel: Set when the user cancels.

        Raises:
            EngineError: It cannot work; says why.
        """

    def look(self, address: str) -> str:
        """What is at an address, in words; "" where that is not known. No work begins, and nothing is installed there.

        Asked in a thread of its own while the address is typed.

        Raises:
            EngineError: It cannot be used; says why.
        """
        del address
        return ""

    def work(
        self,
        address: str,
        slots: int,
        devices: Sequence[str],
        folder: str,
        *,
        host: str = "",
        tls: Mapping[str, str] | None = None,
        shared: Sequence[str] = (),
    ) -> int:
        """Be a worker until the user or the scheduler ends it.

        Args:
            address: The scheduler's.
            slots: Tasks at once; 0: one for each core.
            devices: Devices to offer besides the CPU.
            folder: Folder for the files tasks need; "": one in the user's cache.
            host: Address of this machine to listen on; "": that of the interface that reaches the scheduler.
            tls: Files (PEM) that encrypt the connections and show who each side is: ``ca_file``, ``cert`` and ``key``;
                None: the engine's own settings.
            shared: Folders that drivers have as well, each by its path, or as ``THEIRS=OURS``: what lies below them is
                read in place, if it is the same, instead of being sent.

        Returns:
            The exit status.
        """
        raise SettingError(f"The engine {self.name!r} has no workers.")

    def takes(self, thing: object) -> bool:
        """Whether ``engine=thing`` means this engine, for example because it is a connection to a cluster."""
        return False


ENGINES: Registry[Engine] = Registry("deploykit.engines", "engine")


def find(engine: object) -> tuple[Engine, Any]:
    """The engine called ``engine`` or that takes it, and the address.

    An address may say how it is reached: ``"local"``, ``"dask://host:8786"``, ``"dask+tls://host:8786"``, and
    ``"tls://host:8786"``, which is Dask's alone.

    Raises:
        SettingError: There is none.
        MissingExtraError: It is not installed.
    """
    if isinstance(engine, str):
        name, _, address = engine.partition("://")
        name, _, scheme = name.partition("+")  # dask+tls://host:8786
        if scheme:
            address = f"{scheme}://{address}"
        elif name not in ENGINES and (owner := next((e for e in ENGINES.all() if name in e.schemes), None)):
            name, address = owner.name, engine
        adapter = ENGINES.get(name)
        adapter.check_installed()
        return adapter, address
    for adapter in ENGINES.all():
        if adapter.takes(engine):
            return adapter, engine
    raise SettingError(
        f"engine must be the name of an engine, got {type(engine).__name__}.",
        remedy=f"known: {', '.join(ENGINES.names())}.",
    )


def start(engine: object, cancel: threading.Event) -> Running:
    """Start the engine that `find` finds."""
    adapter, address = find(engine)
    return adapter.start(address, cancel)


def run_on_host(task: Task, host: Host, on_report: OnReport | None = None) -> dict[str, Any]:
    """Run an exclusive task in this process."""
    function = cast("HostFunction", resolve(task.function))
    return function(task.arguments, on_report or _silent, host)


def _silent(_done: float, _total: float, _words: str) -> None:
    """Takes reports that are not wanted."""

"""A machine in the user's network measures: ``engine="ssh://user@host"``.

Models are prepared here; what is built is sent over SSH, each file once, and its answers, latency, memory and profile
are measured there, by the same code and protocol. A small worker is started over the connection and ends with it:
nothing listens on a port, nothing is sent anywhere else, and nothing is installed. The machine needs Python 3.11 or
newer, deploykit in the version that is here, and the runtimes of the sweep.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Collection
from concurrent.futures import Future
from typing import Any

from deploykit.core.adapter import Group
from deploykit.core.errors import EngineError
from deploykit.core.tools import Tool
from deploykit.engines._contract import Engine, OnReport, Running
from deploykit.engines._fleet import WorkerLost
from deploykit.engines._machine import OneMachine, look
from deploykit.engines._openssh import Place
from deploykit.engines._remote import RemoteRunning
from deploykit.engines._worker import machine
from deploykit.engines.local import LocalRunning
from deploykit.sandbox.task import Task

#: Adapters that open candidates; all others work where the candidates are built.
_MEASURE = "deploykit.runtimes"


class _SshRunning(RemoteRunning):
    def __init__(self, there: OneMachine, cancel: threading.Event) -> None:
        super().__init__(there, cancel)
        self._there = there
        self._local = LocalRunning(cancel)
        #: On this very machine, what is built here would disturb what is timed there.
        self._same = there.member.machine == machine()

    @property
    def slots(self) -> int:  # type: ignore[override]
        return self._local.slots

    def submit(self, task: Task, on_report: OnReport | None = None) -> Future[dict[str, Any]]:
        return super().submit(task, on_report) if task.on_target else self._local.submit(task, on_report)

    def exclusive(self, task: Task, on_report: OnReport | None = None) -> Future[dict[str, Any]]:
        if not self._same:
            return super().exclusive(task, on_report)
        return self._pool.submit(self._both_alone, task, on_report)

    def _both_alone(self, task: Task, on_report: OnReport | None) -> dict[str, Any]:
        with self._local.alone():
            return super().exclusive(task, on_report).result()

    def require(self, devices: Collection[str], tools: Collection[Tool] = ()) -> None:
        measuring = {tool for tool in tools if tool.package == _MEASURE}
        with contextlib.suppress(WorkerLost):  # a device that was not found is refused
            self._there.look_for(devices, {tool.name for tool in measuring})
        super().require(devices, measuring)

    def warm(self, group: Group) -> None:
        self._local.warm(group)
        super().warm(group)

    def close(self) -> None:
        super().close()
        self._local.close()


class Ssh(Engine):
    """Measures on a machine that is reached by OpenSSH."""

    name = "ssh"
    label = "a machine in your network"
    help = "Builds here and measures on another machine, reached by OpenSSH: ssh://user@host."

    def missing(self) -> str:
        """Why it cannot be used here; "" when it can."""
        return "" if shutil.which("ssh") else "OpenSSH's client not installed; install the package openssh-client"

    def look(self, address: str) -> str:
        """The system, Python and deploykit of the machine."""
        place = Place.of(address)
        found = look(place)
        return f"{place} answers: {found['system']}, Python {found['python']}, deploykit {found['version']}."

    def start(self, address: Any, cancel: threading.Event) -> Running:
        """Begin to measure on the machine at ``address``: ``user@host:22``, with the path of its Python if need be."""
        if not address:
            raise EngineError("The address of the machine is missing.", remedy='engine="ssh://user@host".')
        there = OneMachine(Place.of(address))
        try:
            return _SshRunning(there, cancel)
        except BaseException:
            there.close()
            raise


ADAPTER = Ssh()

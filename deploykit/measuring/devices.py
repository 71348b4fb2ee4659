"""Runtimes and their devices on this machine: what is ready, what is missing, and what to do about it."""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from deploykit.core.candidate import Target
from deploykit.core.errors import DeploykitError
from deploykit.core.serial import Plain
from deploykit.runtimes._contract import RUNTIMES, Device, DeviceState, refuse_absent
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Report, Task


@dataclass(frozen=True)
class RuntimeState(Plain):
    """One runtime on this machine.

    Attributes:
        name: Name of the runtime.
        problem: Why it cannot be used; "" when it can.
        devices: All devices it knows, absent ones with the reason.
    """

    name: str
    problem: str
    devices: tuple[Device, ...]


@dataclass(frozen=True)
class DeviceRow(Plain):
    """One device of one runtime.

    Attributes:
        runtime: Name of the runtime, as in ``Target.runtime``.
        device: Name of the device, as in ``Target.device``; "" where the runtime is not installed and cannot be asked.
        state: ``"ready"``; ``"not installed"``: a package is missing; ``"no such hardware"``: it is not there, or its
            driver does not answer; ``"detected only"``: it is there, and deploykit runs nothing on it.
        detail: What it is, or why it cannot be used.
        remedy: What to do about it, for example the pip command; "" when it is ready.
    """

    runtime: str
    device: str
    state: DeviceState
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class DeviceTable(Plain):
    """Every runtime with every device it knows, on this machine.

    Attributes:
        rows: One for each device, in the order of the runtimes' names.

    Example:
        >>> found = dk.devices()
        >>> [row.device for row in found.ready if row.runtime == "onnxruntime"]
        ['cpu'...]
    """

    rows: tuple[DeviceRow, ...]

    @property
    def ready(self) -> tuple[DeviceRow, ...]:
        """Those that run models here."""
        return tuple(row for row in self.rows if row.state == "ready")

    def __str__(self) -> str:
        shown = [("runtime", "device", "state", "")]
        shown += [(r.runtime, r.device or "–", r.state, self._said(r)) for r in self.rows]
        widths = [max(map(len, column)) for column in list(zip(*shown, strict=True))[:3]]
        lines = ["  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[3]]) for row in shown]
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    @staticmethod
    def _said(row: DeviceRow) -> str:
        return f"{row.detail}; remedy: {row.remedy}" if row.remedy else row.detail


def devices() -> DeviceTable:
    """List every runtime with every device it knows: ready, not installed, or no such hardware, with the remedy.

    Runtimes are asked in child processes. Nothing falls back: a target on a device that is not ready is an error before
    any work, and a session that would run elsewhere is refused.

    Example:
        >>> print(dk.devices())
        runtime      device    state             ...
    """
    return DeviceTable(tuple(row for state in runtime_states() for row in _rows(state)))


def _rows(state: RuntimeState) -> tuple[DeviceRow, ...]:
    if state.devices:
        return tuple(DeviceRow(state.name, d.name, d.state or "ready", d.detail, d.remedy) for d in state.devices)
    cause, _, remedy = state.problem.partition("; ")
    return (DeviceRow(state.name, "", "not installed", cause, remedy),)


def runtime_states() -> tuple[RuntimeState, ...]:
    """All runtimes, asked in child processes."""
    return tuple(map(_state, RUNTIMES.names()))


def ask(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: the devices of a runtime, asked in a child."""
    return {"devices": [d.to_json() for d in RUNTIMES.get(arguments["runtime"]).devices()]}


def check_devices(targets: Iterable[Target]) -> None:
    """Refuse targets on devices of this machine that are not ready, before any work.

    Every installed runtime that runs on the CPU finds one: only other devices are asked for.

    Raises:
        DeviceError: A device is absent; names what was found and the remedy.
        SettingError: A runtime knows no such device.
    """
    for name, device in dict.fromkeys((target.runtime, target.device) for target in targets):
        runtime = RUNTIMES.get(name)
        if (device != "cpu" or not runtime.cpu) and not runtime.missing():
            refuse_absent(runtime.label, device, _asked(name))


def _asked(name: str) -> tuple[Device, ...]:
    group = RUNTIMES.get(name).group
    task = Task("deploykit.measuring.devices:ask", {"runtime": name}, group, 120.0, name=f"devices of {name}")
    return tuple(Device.from_json(d) for d in shared().run(task)["devices"])


def _state(name: str) -> RuntimeState:
    try:
        runtime = RUNTIMES.get(name)
        if problem := runtime.missing():
            return RuntimeState(name, problem, ())
        return RuntimeState(name, "", _asked(name))
    except DeploykitError as error:
        return RuntimeState(name, str(error), ())

"""An Android device measures: ``engine="adb://SERIAL"``, by LiteRT's benchmark tool.

Candidates are built and evaluated here; the latency of TFLite files is measured on the device, with the blocks of all
candidates by turns and a clone of the original among them. It has not been run on a device yet: what ``adb`` and the
tool print was taken from their sources and from published output.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from deploykit.core.adapter import Group
from deploykit.core.errors import CandidateError, EngineError
from deploykit.core.tools import Tool
from deploykit.engines._android import Device
from deploykit.engines._contract import Engine, OnReport, Running
from deploykit.engines.local import LocalRunning
from deploykit.sandbox.task import Task

_LAUNCH = "deploykit.measuring.latency:launch"
_PROFILE = "deploykit.measuring.profile:profile"
_RUNTIME = Tool("deploykit.runtimes", "litert")


class _AdbRunning(Running):
    def __init__(self, device: Device, cancel: threading.Event) -> None:
        self.cancel = cancel
        self._device = device
        self._local = LocalRunning(cancel)
        self._single = ThreadPoolExecutor(1, thread_name_prefix="deploykit-adb")

    @property
    def slots(self) -> int:  # type: ignore[override]
        return self._local.slots

    def submit(self, task: Task, on_report: OnReport | None = None) -> Future[dict[str, Any]]:
        if task.function != _PROFILE:
            return self._local.submit(task, on_report)
        refused: Future[dict[str, Any]] = Future()  # one of this machine would be taken for the device's
        refused.set_exception(CandidateError("Layers are not measured over adb."))
        return refused

    def exclusive(self, task: Task, on_report: OnReport | None = None) -> Future[dict[str, Any]]:
        if task.function != _LAUNCH:
            return self._local.exclusive(task, on_report)
        report = on_report or (lambda _done, _total, _words: None)
        return self._single.submit(self._device.launch, task.arguments, lambda words: report(0, 0, words))

    def facts(self, device: str) -> dict[str, Any]:
        return self._device.facts

    def require(self, devices: Collection[str], tools: Collection[Tool] = ()) -> None:
        others = sorted(t.name for t in tools if t.package == _RUNTIME.package and t != _RUNTIME)
        others += sorted(set(devices) - {"cpu"})
        if others:
            raise EngineError(
                f"Over adb, LiteRT measures TFLite files on the device's CPU; the sweep uses {', '.join(others)}.",
                remedy="load a .tflite file, and give a space with targets on litert alone.",
            )

    def warm(self, group: Group) -> None:
        self._local.warm(group)

    def close(self) -> None:
        self._single.shutdown(cancel_futures=True)
        self._local.close()
        if not self.cancel.is_set():
            self._device.close()


class Adb(Engine):
    """Measures TFLite files on an Android device."""

    name = "adb"
    label = "an Android device"
    help = "Builds here and measures TFLite files on an Android device, by LiteRT's benchmark tool: adb://SERIAL."

    def missing(self) -> str:
        """Why it cannot be used here; "" when it can."""
        return "" if shutil.which("adb") else "Android's adb not installed; install its platform tools (Debian: adb)"

    def start(self, address: Any, cancel: threading.Event) -> Running:
        """Begin to measure on the device with the serial number ``address``, "" for the only one there is."""
        return _AdbRunning(Device(str(address), cancel), cancel)


ADAPTER = Adb()

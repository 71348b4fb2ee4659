"""An Android device that ``adb`` reaches: who it is, what it lacks, and launches on it by LiteRT's benchmark tool."""

from __future__ import annotations

import random
import re
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploykit.core.digest import file_digest
from deploykit.core.errors import Cancelled, DeploykitError, EngineError, to_json
from deploykit.engines._benchmark_model import Block, command, read

FOLDER = "/data/local/tmp"
TOOL = f"{FOLDER}/benchmark_model"
_MODELS = f"{FOLDER}/deploykit"
_RUNTIME = "litert"
_ASK_S = 30.0
_PUSH_S = 600.0
_POLL_S = 0.2
_STATES = {
    "unauthorized": ("has not allowed this machine to debug it", "unlock it and accept the key it shows"),
    "offline": ("does not answer adb", "unplug it and connect it again, or: adb reconnect"),
    "no permissions": ("cannot be opened by this user", "add the rules for Android devices to udev"),
    "recovery": ("is in recovery mode", "start Android on it"),
    "bootloader": ("is in its bootloader", "start Android on it"),
}
_CONNECT = "turn on USB debugging in its developer options, connect it, and accept the key until adb devices lists it"


def adb(*arguments: str, timeout_s: float = _ASK_S, cancel: threading.Event | None = None) -> tuple[int, str]:
    """Run ``adb``: its exit status, and what it printed.

    Raises:
        EngineError: It cannot be run, or does not end in time.
        Cancelled: ``cancel`` was set; it was ended.
    """
    try:
        process = subprocess.Popen(  # noqa: S603
            ["adb", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,  # noqa: S607  the user's
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise EngineError(
            f"Android's adb could not be started: {error}.", remedy="install Android's platform tools."
        ) from error
    end = time.monotonic() + timeout_s
    while True:
        try:
            text = process.communicate(timeout=_POLL_S)[0]
            return process.returncode, text.decode("utf-8", "replace").replace("\r", "")
        except subprocess.TimeoutExpired:
            if cancel is not None and cancel.is_set():
                process.kill()
                process.communicate()
                raise Cancelled("Cancelled while a device was measured.") from None
            if time.monotonic() > end:
                process.kill()
                process.communicate()
                raise EngineError(
                    f"The command adb {arguments[-1]} did not end within {timeout_s:.0f} s.",
                    remedy="connect the device again.",
                ) from None


def connected() -> dict[str, str]:
    """State of each device that ``adb`` knows, by its serial number.

    Raises:
        EngineError: ``adb`` cannot say.
    """
    status, text = adb("devices")
    lines = text.partition("List of devices attached")[2].splitlines()
    if status or "List of devices attached" not in text:
        raise EngineError(
            f"Android's adb cannot list its devices: {text.strip()}", remedy="try: adb kill-server, adb devices."
        )
    return {serial: state.strip() for serial, _, state in (line.partition("\t") for line in lines) if state}


class Device:
    """A device that can measure.

    Args:
        serial: Its serial number; "" for the only one there is.
        cancel: Set when the work is no longer wanted.

    Attributes:
        facts: Facts of its hardware, by the names of `deploykit.measuring.environment.hardware`.

    Raises:
        EngineError: It is not there, not ready, or lacks the benchmark tool; says which, and what to do.
    """

    def __init__(self, serial: str, cancel: threading.Event) -> None:
        self.serial = _choose(serial, connected())
        self._cancel = cancel
        self._pushed: dict[str, str] = {}
        abi = self._property("ro.product.cpu.abi")
        if self._shell(f"test -x {TOOL}")[0]:
            raise EngineError(
                f"The device {self.serial} ({abi}) has no LiteRT benchmark tool at {TOOL}.",
                remedy=f"get or build benchmark_model for {abi} (LiteRT: tflite/tools/benchmark), then: adb -s "
                f"{self.serial} push benchmark_model {FOLDER}/ && adb -s {self.serial} shell chmod +x {TOOL}.",
            )
        maker, model = self._property("ro.product.manufacturer"), self._property("ro.product.model")
        chip = self._property("ro.soc.model") or self._property("ro.board.platform")
        cores = self._shell("nproc")[1].strip()
        self.facts: dict[str, Any] = {
            "cpu": f"{chip} ({maker} {model})",
            "cores": int(cores) if cores.isdigit() else 0,
            "features": [],
            "machine": abi,
            "system": f"Android {self._property('ro.build.version.release')}",
            "interpreter": f"benchmark_model {self._shell(f'sha256sum {TOOL}')[1][:16]}",
        }

    def launch(self, order: dict[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
        """One launch, from the plain form of an order to that of a launch, see `deploykit.measuring.latency`.

        Blocks alternate in random order. Each is a process of its own, so that all of them re-create their session; of
        the inferences in it only the median is known.
        """
        started, rng = time.perf_counter(), random.Random(f"{order['seed']}/{order['index']}")
        before = self._thermal()
        blocks: dict[str, list[Block]] = {}
        failed: dict[str, Any] = {}
        entries = {e["key"]: e for e in order["entries"]}
        spent = dict.fromkeys(entries, 0.0)
        for number in range(order["rounds"]):
            say(f"round {number + 1} of {order['rounds']} on {self.serial}")
            keys = [key for key in entries if key not in failed]
            rng.shuffle(keys)
            for key in keys:
                began = time.perf_counter()
                try:
                    blocks.setdefault(key, []).append(self._block(entries[key], order["deadline_s"]))
                except (Cancelled, DeviceGoneError):
                    raise
                except DeploykitError as error:
                    failed[key] = {"error": to_json(error)}
                spent[key] += time.perf_counter() - began
        after = self._thermal()
        hot = max(before, after)
        series = {k: _series(found, spent[k]) for k, found in blocks.items() if k not in failed}
        return {
            "index": order["index"],
            "series": {**series, **failed},
            "seconds": time.perf_counter() - started,
            "environment": {**self.facts, "host": self.serial},
            "slowed": f"Android reports thermal status {hot}" if hot > 0 else "",
        }

    def close(self) -> None:
        """Remove what was sent."""
        if self._pushed:
            self._shell(f"rm -rf {_MODELS}")

    def _block(self, entry: dict[str, Any], deadline_s: float) -> Block:
        target = entry["target"]
        plain = (target["runtime"], target["device"], target["batch_size"]) == (_RUNTIME, "cpu", 1)
        if not plain or target.get("lengths"):
            raise EngineError(
                f"Over adb only {_RUNTIME} on the CPU is measured, one example at a time.",
                remedy="leave other runtimes, devices, batch sizes and lengths out of the space.",
            )
        graph = self._send(Path(entry["path"]))
        status, text = self._shell(command(TOOL, graph, target["threads"] or -1), deadline_s)
        if status == 0 or "Inference timings" in text:
            return read(text)
        if re.search(r"error: (device|no devices|closed)", text):
            raise DeviceGoneError(
                f"The device {self.serial} was disconnected while it was measured: {text.strip().splitlines()[-1]}.",
                remedy="connect it and rerun the sweep: finished work is kept.",
            )
        return read(text)

    def _send(self, path: Path) -> str:
        digest = file_digest(path)
        if digest not in self._pushed:
            target = f"{_MODELS}/{digest[:24]}.tflite"
            self._shell(f"mkdir -p {_MODELS}")
            status, text = adb("-s", self.serial, "push", str(path), target, timeout_s=_PUSH_S, cancel=self._cancel)
            if status:
                raise DeviceGoneError(
                    f"A model could not be sent to the device {self.serial}: {(text.strip() or 'no reason given')}.",
                    remedy="free some space there and check the connection, then rerun the sweep.",
                )
            self._pushed[digest] = target
        return self._pushed[digest]

    def _shell(self, line: str, timeout_s: float = _ASK_S) -> tuple[int, str]:
        return adb("-s", self.serial, "shell", line, timeout_s=timeout_s, cancel=self._cancel)

    def _property(self, name: str) -> str:
        return self._shell(f"getprop {name}")[1].strip()

    def _thermal(self) -> int:
        """Android's thermal status: 0 none to 6 shutdown; 0 before Android 10, which does not say."""
        found = re.search(r"Thermal Status: (\d+)", self._shell("dumpsys thermalservice")[1])
        return int(found[1]) if found else 0


class DeviceGoneError(EngineError):
    """The device is no longer there."""


def _choose(serial: str, states: dict[str, str]) -> str:
    """The device that is meant, if it is ready.

    Raises:
        EngineError: It is not there or not ready, or several could be meant.
    """
    listed = ", ".join(f"{name} ({state})" for name, state in states.items()) or "none"
    if not states:
        raise EngineError("No Android device is connected: adb lists none.", remedy=f"{_CONNECT}.")
    if not serial and len(states) > 1:
        raise EngineError(
            f"Several Android devices are connected: {listed}.", remedy='name one: engine="adb://SERIAL".'
        )
    chosen = serial or next(iter(states))
    if chosen not in states:
        raise EngineError(f"No Android device {chosen!r} is connected; adb lists {listed}.", remedy=f"{_CONNECT}.")
    state = states[chosen]
    if state != "device":
        words, remedy = next((v for k, v in _STATES.items() if state.startswith(k)), (f"is {state}", _CONNECT))
        raise EngineError(f"The Android device {chosen} {words}.", remedy=f"{remedy}.")
    return chosen


def _series(blocks: list[Block], seconds: float) -> dict[str, Any]:
    """The plain form of a series: one time for each block, since the tool prints no more."""
    medians = [round(1000 * block.median_us) for block in blocks]
    return {
        "block_medians_ns": medians,
        "times_ns": medians,
        "cpu_ns": round(sum(1000 * block.cpu_us for block in blocks)),
        "peak_memory_bytes": max(block.memory_bytes for block in blocks),
        "seconds": seconds,
        "load_ns": round(1000 * statistics.median(block.load_us for block in blocks)),
        "first_ns": round(1000 * blocks[0].first_us),
        "batch": 1,
        "no_energy": "adb counts no energy",
    }

"""Clocks, temperature, power and throttling of the GPU that PyTorch uses, read through NVIDIA's driver (NVML)."""

from __future__ import annotations

import ctypes
import platform
import statistics
from collections.abc import Sequence
from typing import Any

import torch

from deploykit.measuring.environment import hardware
from deploykit.runtimes._hardware import NVML

_SM, _GPU_TEMPERATURE = 1, 0
#: Bits that say why a GPU runs slower than it can (nvml.h, nvmlClocksEventReasons); idle clocks are not among them.
_REASONS = {
    0x4: "power cap", 0x8: "hardware slowdown", 0x20: "temperature (software)", 0x40: "temperature (hardware)",
    0x80: "power brake",
}  # fmt: skip


class Clocks:
    """The GPU's state; of a CPU there is only its name.

    Attributes:
        card: Name of the device.
        driver: Version of its driver, "" for a CPU.
    """

    def __init__(self, device: str) -> None:
        self._handle = None
        self.driver = ""
        if device == "cpu":
            self.card = str(hardware()["cpu"] or platform.processor())
            return
        facts = torch.cuda.get_device_properties(0)
        self.card = facts.name
        try:
            self._library = ctypes.CDLL(NVML)
        except OSError:
            return
        handle, version = ctypes.c_void_p(), ctypes.create_string_buffer(96)
        if self._library.nvmlInit_v2():
            return
        self._library.nvmlSystemGetDriverVersion(version, ctypes.c_uint(len(version)))
        self.driver = version.value.decode()
        if hasattr(facts, "pci_bus_id"):  # the first GPU that PyTorch sees need not be the driver's first
            place = f"{facts.pci_domain_id:08x}:{facts.pci_bus_id:02x}:{facts.pci_device_id:02x}.0"
            failed = self._library.nvmlDeviceGetHandleByPciBusId_v2(place.encode(), ctypes.byref(handle))
        else:
            failed = self._library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(0), ctypes.byref(handle))
        self._handle = None if failed else handle

    def read(self) -> dict[str, Any]:
        """What the driver says now; nothing where it is not asked."""
        if self._handle is None:
            return {}
        clock, degrees, milliwatts = ctypes.c_uint(), ctypes.c_uint(), ctypes.c_uint()
        reasons = ctypes.c_ulonglong()
        asked = {
            "sm_mhz": (self._library.nvmlDeviceGetClockInfo(self._handle, _SM, ctypes.byref(clock)), clock),
            "celsius": (
                self._library.nvmlDeviceGetTemperature(self._handle, _GPU_TEMPERATURE, ctypes.byref(degrees)), degrees
            ),
            "milliwatts": (self._library.nvmlDeviceGetPowerUsage(self._handle, ctypes.byref(milliwatts)), milliwatts),
            "reasons": (
                self._library.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle, ctypes.byref(reasons)), reasons
            ),
        }  # fmt: skip
        return {name: int(value.value) for name, (failed, value) in asked.items() if not failed}

    @staticmethod
    def summary(readings: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Least, median and most of each number."""
        found = {}
        for name in ("sm_mhz", "celsius", "milliwatts"):
            if values := sorted(r[name] for r in readings if name in r):
                found[name] = [values[0], statistics.median(values), values[-1]]
        return found


def slowed(readings: Sequence[dict[str, Any]]) -> str:
    """Why the GPU was slower than it can be meanwhile, "" where the driver names nothing."""
    seen = 0
    for reading in readings:
        seen |= reading.get("reasons", 0)
    return ", ".join(words for bit, words in _REASONS.items() if seen & bit)

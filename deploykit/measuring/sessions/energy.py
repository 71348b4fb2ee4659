"""Energy counters of the host: RAPL for processors, NVML for NVIDIA's GPUs."""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

#: Where Linux shows the counters of RAPL (also those of AMD's processors).
POWERCAP = Path("/sys/class/powercap")
_NVML = "libnvidia-ml.so.1"


class Meter(ABC):
    """Counts the energy of a part of the host, for all processes together.

    Attributes:
        name: What is counted.
        steps_s: The counter moves this often, in seconds: shorter work must be summed over many readings, or is lost.
    """

    name: str
    steps_s: float

    @abstractmethod
    def read(self) -> tuple[int, ...]:
        """The counters now, in microjoules."""

    @abstractmethod
    def between(self, before: tuple[int, ...], after: tuple[int, ...]) -> int:
        """Microjoules between two readings."""


@dataclass(frozen=True)
class _Domain:
    name: str
    counter: Path
    span: int


class Rapl(Meter):
    """Packages of the processor, and the memory they name; its counter moves every millisecond and wraps around.

    Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3B, section 15.10; Linux
    Documentation/power/powercap.
    """

    steps_s = 0.001

    def __init__(self, domains: tuple[_Domain, ...]) -> None:
        self._domains = domains
        self.name = f"RAPL: {', '.join(domain.name for domain in domains)}"

    def read(self) -> tuple[int, ...]:
        """The counters now, in microjoules."""
        return tuple(int(domain.counter.read_text()) for domain in self._domains)

    def between(self, before: tuple[int, ...], after: tuple[int, ...]) -> int:
        """Microjoules between two readings, over at most one wrap of the counter."""
        spans = (domain.span for domain in self._domains)
        return sum(b - a if b >= a else b - a + span for a, b, span in zip(before, after, spans, strict=True))


class Nvml(Meter):
    """One GPU as a whole, since its driver was loaded (Volta and later)."""

    steps_s = 0.1

    def __init__(self, library: ctypes.CDLL, handle: ctypes.c_void_p, name: str) -> None:
        self._library = library
        self._handle = handle
        self.name = f"NVML: {name}"

    def read(self) -> tuple[int, ...]:
        """The counter now, in microjoules."""
        millijoules = ctypes.c_ulonglong()
        if self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle, ctypes.byref(millijoules)):
            raise OSError("NVML gives no energy any more")
        return (1000 * millijoules.value,)

    def between(self, before: tuple[int, ...], after: tuple[int, ...]) -> int:
        """Microjoules between two readings."""
        return after[0] - before[0]


def meter(device: str, folder: Path = POWERCAP) -> Meter | str:
    """What counts the energy of a device; or why nothing does, in words.

    Args:
        device: Name of a runtime's device: ``"cpu"``, or ``"cuda"`` and others for GPUs.
        folder: Where the counters of processors are.
    """
    if device == "cpu":
        return _rapl(folder)
    if device.startswith(("cuda", "gpu", "tensorrt")):
        return _nvml()
    return f"no counter is known for the device {device}"


def _rapl(folder: Path) -> Meter | str:
    zones = sorted(folder.glob("intel-rapl:*")) if folder.is_dir() else []
    domains = []
    for zone in zones:
        try:
            name = (zone / "name").read_text().strip()
            if not name.startswith(("package", "dram")):  # cores and psys are in, or around, the packages
                continue
            counter = zone / "energy_uj"
            int(counter.read_text())
            domains.append(_Domain(name, counter, int((zone / "max_energy_range_uj").read_text())))
        except PermissionError:
            return f"the counters in {folder} can be read by root only (chmod a+r {zone / 'energy_uj'} permits it)"
        except (OSError, ValueError):
            continue
    if not any(domain.name.startswith("package") for domain in domains):
        return f"this machine shows no energy counters (no {folder}/intel-rapl:*), as virtual machines and containers"
    return Rapl(tuple(domains))


def _nvml() -> Meter | str:
    try:
        library = ctypes.CDLL(_NVML)
    except OSError:
        return f"NVIDIA's {_NVML} is not installed"
    handle, energy, name = ctypes.c_void_p(), ctypes.c_ulonglong(), ctypes.create_string_buffer(96)
    if library.nvmlInit_v2() or library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(handle)):
        return "NVML finds no GPU"
    if library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(energy)):
        return "this GPU, or its driver, counts no energy (Volta and later do)"
    library.nvmlDeviceGetName(handle, name, ctypes.c_uint(len(name)))
    return Nvml(library, handle, name.value.decode())

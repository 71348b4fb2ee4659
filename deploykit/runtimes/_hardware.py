"""Which accelerators answer on this machine, asked without a framework: their drivers, and what hangs on the bus."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

NVML = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
#: Where Linux shows what hangs on the bus.
_BUS = Path("/sys/bus/pci/devices")
#: Vendors by their numbers on the bus.
_NVIDIA, _GOOGLE = "0x10de", "0x1ae0"
#: Classes of devices on the bus that begin like this draw or compute.
_DISPLAY = "0x03"


@dataclass(frozen=True)
class Hardware:
    """Hardware of one sort.

    Attributes:
        names: What answers, in words; empty: nothing does.
        reason: Why nothing answers; "" when something does.
    """

    names: tuple[str, ...] = ()
    reason: str = ""

    def __str__(self) -> str:
        return ", ".join(self.names) or self.reason


@cache
def nvidia() -> Hardware:
    """NVIDIA's GPUs, asked through the driver's library (NVML)."""
    try:
        library = ctypes.CDLL(NVML)
    except OSError:
        card = _on_bus(_NVIDIA, _DISPLAY)
        if card:
            return Hardware(reason=f"{card} is on the bus, but NVIDIA's driver is not installed (no {NVML})")
        return Hardware(reason=f"no NVIDIA GPU on this machine (no driver: {NVML} is missing)")
    count = ctypes.c_uint()
    if library.nvmlInit_v2() or library.nvmlDeviceGetCount_v2(ctypes.byref(count)) or not count.value:
        return Hardware(reason="NVIDIA's driver is installed, but no GPU answers it")
    driver = ctypes.create_string_buffer(96)
    library.nvmlSystemGetDriverVersion(driver, ctypes.c_uint(len(driver)))
    return Hardware(tuple(_card(library, index, driver.value.decode()) for index in range(count.value)))


def _card(library: ctypes.CDLL, index: int, driver: str) -> str:
    handle, name = ctypes.c_void_p(), ctypes.create_string_buffer(96)
    major, minor = ctypes.c_int(), ctypes.c_int()
    library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle))
    library.nvmlDeviceGetName(handle, name, ctypes.c_uint(len(name)))
    library.nvmlDeviceGetCudaComputeCapability(handle, ctypes.byref(major), ctypes.byref(minor))
    return f"{name.value.decode()} (compute capability {major.value}.{minor.value}, driver {driver})"


def tpu() -> Hardware:
    """Google's TPUs, by what hangs on the bus and by their device files."""
    files = sorted(str(path) for path in Path("/dev").glob("accel*"))
    card = _on_bus(_GOOGLE, "")
    if not files and not card:
        return Hardware(reason="no TPU on this machine")
    return Hardware((card or f"a TPU behind {files[0]}",))


def _on_bus(vendor: str, kind: str, bus: Path = _BUS) -> str:
    """A device of a vendor on the bus, as its numbers; "" for none."""
    for place in sorted(bus.glob("*")) if bus.is_dir() else ():
        try:
            if (place / "vendor").read_text().strip() == vendor and (place / "class").read_text().startswith(kind):
                return f"a device {vendor}:{(place / 'device').read_text().strip()}"
        except OSError:
            continue
    return ""

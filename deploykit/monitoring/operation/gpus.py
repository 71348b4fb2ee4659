"""What NVIDIA's GPUs are doing, where there are some and the package that asks them is installed (deploykit[gpu])."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Collection
from typing import Any

from deploykit.core.extras import require


def read_gpus(pids: Collection[int]) -> tuple[dict[str, Any], ...]:
    """All GPUs that the driver knows; none without a driver.

    Args:
        pids: Processes whose memory there is given by itself.

    Returns:
        For each GPU its ``place``, its ``name``, ``busy`` (share of time in which it ran something), ``used_bytes``,
        ``total_bytes``, ``watts``, and ``own_bytes`` by process; None where it does not say.
    """
    if not _has_driver():
        return ()
    try:
        nvml = require("pynvml", "gpu")
        nvml.nvmlInit()
    except ImportError:
        return ()
    except nvml.NVMLError:  # a driver without a GPU, or another version's
        return ()
    try:
        found = (_read(nvml, place, pids) for place in range(nvml.nvmlDeviceGetCount()))
        return tuple(one for one in found if one is not None)
    finally:
        nvml.nvmlShutdown()


def _has_driver() -> bool:
    """Whether the driver's library is there: a server on a machine without one imports nothing for it."""
    try:
        ctypes.CDLL("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")
    except OSError:
        return False
    return True


def _read(nvml: Any, place: int, pids: Collection[int]) -> dict[str, Any] | None:
    def ask(question: Callable[..., Any], *arguments: Any) -> Any:
        """The answer, None where this GPU has none: one that is split has no rates, for example."""
        try:
            return question(*arguments)
        except nvml.NVMLError:
            return None

    gpu = ask(nvml.nvmlDeviceGetHandleByIndex, place)
    if gpu is None:
        return None
    memory, rates = ask(nvml.nvmlDeviceGetMemoryInfo, gpu), ask(nvml.nvmlDeviceGetUtilizationRates, gpu)
    milliwatts = ask(nvml.nvmlDeviceGetPowerUsage, gpu)
    return {
        "place": place,
        "name": str(ask(nvml.nvmlDeviceGetName, gpu) or ""),
        "busy": None if rates is None else rates.gpu / 100,
        "used_bytes": None if memory is None else memory.used,
        "total_bytes": None if memory is None else memory.total,
        "watts": None if milliwatts is None else milliwatts / 1000,
        "own_bytes": {
            process.pid: process.usedGpuMemory
            for process in ask(nvml.nvmlDeviceGetComputeRunningProcesses, gpu) or ()
            if process.pid in pids and process.usedGpuMemory is not None
        },
    }

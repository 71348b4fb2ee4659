"""What NVIDIA's GPUs are doing, where there are some and the package that asks them is installed (deploykit[gpu])."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

from deploykit.core.extras import require

_GPU = ("gpu", "name")


def gpus(pids: Collection[int]) -> Iterator[Any]:
    """Metrics of all GPUs that the driver knows; none without a driver.

    Args:
        pids: Workers, whose memory there is given by itself.
    """
    from prometheus_client.core import GaugeMetricFamily

    try:
        nvml = require("pynvml", "gpu")
        nvml.nvmlInit()
    except ImportError:
        return
    except nvml.NVMLError:  # as on a machine without a driver
        return
    try:
        busy = GaugeMetricFamily("deploykit_gpu_busy_ratio", "Share of time in which a GPU ran something.", labels=_GPU)
        used = GaugeMetricFamily("deploykit_gpu_memory_used_bytes", "Memory of a GPU in use.", labels=_GPU)
        total = GaugeMetricFamily("deploykit_gpu_memory_bytes", "Memory of a GPU.", labels=_GPU)
        power = GaugeMetricFamily("deploykit_gpu_power_watts", "Power that a GPU draws.", labels=_GPU)
        own = GaugeMetricFamily(
            "deploykit_worker_gpu_memory_bytes", "Memory of a GPU that a worker has.", labels=["pid", "gpu"]
        )
        for place in range(nvml.nvmlDeviceGetCount()):
            _add(nvml, place, pids, busy, used, total, power, own)
        yield from (busy, used, total, power, own)
    finally:
        nvml.nvmlShutdown()


def _add(nvml: Any, place: int, pids: Collection[int], busy: Any, used: Any, total: Any, power: Any, own: Any) -> None:
    def ask(question: Callable[..., Any], *arguments: Any) -> Any:
        """The answer, None where this GPU has none: one that is split has no rates, for example."""
        try:
            return question(*arguments)
        except nvml.NVMLError:
            return None

    gpu = ask(nvml.nvmlDeviceGetHandleByIndex, place)
    if gpu is None:
        return
    labels = [str(place), str(ask(nvml.nvmlDeviceGetName, gpu) or "")]
    if (memory := ask(nvml.nvmlDeviceGetMemoryInfo, gpu)) is not None:
        used.add_metric(labels, memory.used)
        total.add_metric(labels, memory.total)
    if (rates := ask(nvml.nvmlDeviceGetUtilizationRates, gpu)) is not None:
        busy.add_metric(labels, rates.gpu / 100)
    if (milliwatts := ask(nvml.nvmlDeviceGetPowerUsage, gpu)) is not None:
        power.add_metric(labels, milliwatts / 1000)
    for process in ask(nvml.nvmlDeviceGetComputeRunningProcesses, gpu) or ():
        if process.pid in pids and process.usedGpuMemory is not None:
            own.add_metric([str(process.pid), str(place)], process.usedGpuMemory)

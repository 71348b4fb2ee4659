"""Metrics of GPUs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from deploykit.monitoring.operation.gpus import read_gpus

_GPU = ("gpu", "name")
_GAUGES = {
    "busy": ("deploykit_gpu_busy_ratio", "Share of time in which a GPU ran something."),
    "used_bytes": ("deploykit_gpu_memory_used_bytes", "Memory of a GPU in use."),
    "total_bytes": ("deploykit_gpu_memory_bytes", "Memory of a GPU."),
    "watts": ("deploykit_gpu_power_watts", "Power that a GPU draws."),
}


def gpus(pids: Collection[int]) -> Iterator[Any]:
    """Metrics of all GPUs that the driver knows; none without a driver.

    Args:
        pids: Workers, whose memory there is given by itself.
    """
    from prometheus_client.core import GaugeMetricFamily

    found = read_gpus(pids)
    if not found:
        return
    for key, (name, text) in _GAUGES.items():
        gauge = GaugeMetricFamily(name, text, labels=_GPU)
        for gpu in found:
            if gpu[key] is not None:
                gauge.add_metric([str(gpu["place"]), gpu["name"]], gpu[key])
        yield gauge
    own = GaugeMetricFamily(
        "deploykit_worker_gpu_memory_bytes", "Memory of a GPU that a worker has.", labels=["pid", "gpu"]
    )
    for gpu in found:
        for pid, size in gpu["own_bytes"].items():
            own.add_metric([str(pid), str(gpu["place"])], size)
    yield own

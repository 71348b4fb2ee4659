"""Metrics of GPUs: none without a driver, and what the driver says where there is one."""

import sys

import pytest

from deploykit.serving.wires._gpus import gpus


def test_there_are_none_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert list(gpus([])) == []


def test_they_are_those_that_the_driver_knows():
    """On a machine without one, that is what NVIDIA's own package says."""
    nvml = pytest.importorskip("pynvml")
    found = {family.name: family.samples for family in gpus([])}
    try:
        nvml.nvmlInit()
    except (nvml.NVMLError_LibraryNotFound, nvml.NVMLError_DriverNotLoaded):
        assert found == {}
        return
    memory = [
        nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByIndex(i)) for i in range(nvml.nvmlDeviceGetCount())
    ]
    assert [sample.value for sample in found["deploykit_gpu_memory_bytes"]] == [m.total for m in memory]
    for sample in found["deploykit_gpu_busy_ratio"]:
        assert 0 <= sample.value <= 1

"""ONNX Runtime's execution providers as devices: what this build offers, what hardware answers, and what they ran."""

from __future__ import annotations

import json
import platform
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploykit.core import extras
from deploykit.core.errors import DeviceError
from deploykit.core.extras import require
from deploykit.runtimes import _hardware
from deploykit.runtimes._contract import Device

CPU = "CPUExecutionProvider"
#: A session with this setting says which provider each node went to (since version 1.24).
_RECORD = "session.record_ep_graph_assignment_info"


@dataclass(frozen=True)
class Provider:
    """An execution provider.

    Attributes:
        name: As ONNX Runtime calls it.
        pip: Command that installs it.
        hardware: Says why its hardware is not there; "" where it is.
        plugin: Module of the package that adds it to an installed ONNX Runtime; "" where it comes with the build.
        options: Its options for a number of threads.
    """

    name: str
    pip: str = ""
    hardware: Callable[[], str] = str
    plugin: str = ""
    options: Callable[[int], dict[str, str]] = lambda _threads: {}


def _nvidia() -> str:
    return _hardware.nvidia().reason


def _amd() -> str:
    return "" if Path("/dev/kfd").exists() else "no AMD GPU with the ROCm driver on this machine (no /dev/kfd)"


def _windows() -> str:
    return "" if sys.platform == "win32" else f"DirectML needs Windows with a DirectX 12 GPU; this is {sys.platform}"


def _mac() -> str:
    return "" if sys.platform == "darwin" else f"Core ML needs macOS; this is {sys.platform}"


def _qualcomm() -> str:
    machine = platform.machine().lower()
    return "" if machine in {"arm64", "aarch64"} else f"no Qualcomm NPU on this machine ({machine})"


def _x86() -> str:
    machine = platform.machine().lower()
    return "" if machine in {"x86_64", "amd64"} else f"the package is built for x86-64; this is {machine}"


def _openvino_on_cpu(threads: int) -> dict[str, str]:
    """In float32, like the CPU itself: it would compute in bfloat16 where the CPU has it."""
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": str(threads)}
    return {"load_config": json.dumps({"CPU": settings})}


_INSTEAD = "pip uninstall onnxruntime && pip install '{}' (it replaces onnxruntime)"

#: Device name → provider.
PROVIDERS = {
    "cpu": Provider(CPU),
    "cuda": Provider("CUDAExecutionProvider", _INSTEAD.format("onnxruntime-gpu[cuda,cudnn]"), _nvidia),
    "tensorrt": Provider(
        "TensorrtExecutionProvider", f"{_INSTEAD.format('onnxruntime-gpu[cuda,cudnn]')} and install TensorRT", _nvidia
    ),
    "openvino": Provider(
        "OpenVINOExecutionProvider", "pip install 'deploykit[onnx-openvino]'", _x86, "onnxruntime_ep_openvino",
        _openvino_on_cpu,
    ),
    "rocm": Provider("ROCMExecutionProvider", _INSTEAD.format("onnxruntime-rocm"), _amd),
    "directml": Provider("DmlExecutionProvider", _INSTEAD.format("onnxruntime-directml"), _windows),
    "coreml": Provider("CoreMLExecutionProvider", "pip install onnxruntime (its build for macOS has it)", _mac),
    "qnn": Provider("QNNExecutionProvider", "pip install onnxruntime-qnn", _qualcomm, "onnxruntime_qnn"),
}  # fmt: skip


def devices(ort: Any) -> tuple[Device, ...]:
    """All providers: present ones, and absent ones with the reason.

    Args:
        ort: The module ``onnxruntime``.
    """
    offered = set(ort.get_available_providers())
    return tuple(_device(name, one, offered) for name, one in PROVIDERS.items())


def _device(name: str, one: Provider, offered: set[str]) -> Device:
    there = one.name in offered or bool(one.plugin and extras.installed(one.plugin))
    lacking = one.hardware()
    if there and not lacking:
        return Device(name, available=True, detail=one.name)
    if lacking:
        also = "" if there else f"; {one.name} is not in this build of ONNX Runtime either"
        return Device(name, available=False, detail=f"{lacking}{also}", remedy=f"on a machine that has it: {one.pip}")
    detail = f"{one.name} is not in this build of ONNX Runtime"
    return Device(name, available=False, detail=detail, state="not installed", remedy=one.pip)


def choose(ort: Any, options: Any, device: str, threads: int) -> list[str] | None:
    """Have a session run on a device, and say afterwards what ran there.

    Args:
        ort: The module ``onnxruntime``.
        options: The session's options, which are changed.
        device: The device.
        threads: Threads, where the provider takes them.

    Returns:
        The names to give the session; None where the options hold all.

    Raises:
        DeviceError: The plugin finds no device.
    """
    one = PROVIDERS[device]
    if one.name == CPU:
        return [CPU]
    options.add_session_config_entry(_RECORD, "1")
    if not one.plugin or one.name in _built_in(ort):
        return [one.name]
    module = require(one.plugin)
    if one.name not in ort.get_available_providers():
        ort.register_execution_provider_library(one.name, module.get_library_path())
    found = [d for d in ort.get_ep_devices() if d.ep_name == one.name]
    if not found:
        raise DeviceError(
            f"ONNX Runtime: {one.name} is installed and finds no device.", remedy="install its driver, or choose 'cpu'."
        )
    options.add_provider_for_devices(found[:1], one.options(threads))
    return None


def _built_in(ort: Any) -> set[str]:
    plugins = {d.ep_name for d in ort.get_ep_devices()} if hasattr(ort, "get_ep_devices") else set()
    return set(ort.get_available_providers()) - plugins


def placed(session: Any, device: str) -> tuple[str, str]:
    """What really runs a session's nodes: ONNX Runtime leaves to the CPU what a provider does not take, or all.

    Args:
        session: An ``InferenceSession`` made as `choose` says.
        device: The device that was asked for.

    Returns:
        The device that runs it, and what was left to others in words, "" for nothing.

    Raises:
        DeviceError: This version cannot say.
    """
    names = {one.name: name for name, one in PROVIDERS.items()}
    first = session.get_providers()[0]
    if device == "cpu" or names.get(first, first) != device:
        return names.get(first, first), ""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        raise DeviceError(
            "This version of ONNX Runtime does not say which nodes it left to the CPU.",
            remedy="upgrade it to 1.24 or later, or choose device='cpu'.",
        )
    owners = [
        (part.ep_name, node.op_type)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    ]
    others = [operator for owner, operator in owners if owner != first]
    if owners and len(others) == len(owners):
        return "cpu", ""
    return device, _left(others, len(owners))


def _left(operators: list[str], total: int) -> str:
    if not operators:
        return ""
    counted = ", ".join(f"{name} ×{count}" if count > 1 else name for name, count in Counter(operators).most_common())
    return f"{len(operators)} of {total} nodes were left to the CPU: {counted}"

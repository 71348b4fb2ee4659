"""The host a measurement was made on."""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import sys
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from deploykit._version import __version__
from deploykit.core import extras
from deploykit.core.registry import present, registry
from deploykit.core.tools import all_versions

#: Packages of adapters that build, run or measure candidates.
_ADAPTERS = ("loading", "converters", "transforms", "runtimes", "metrics")
#: CPU features that decide which kernels run.
_FEATURES = ("avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16",
             "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "sve")  # fmt: skip


@cache
def hardware() -> dict[str, Any]:
    """Facts that key a measurement beside the runtime's versions: CPU, cores, features, system, interpreter.

    Of Python only what changes the cost of a call into a runtime: its kind, and its version without corrections.
    """
    return {
        "cpu": _cpu_name(),
        "cores": core_count(),
        "features": cpu_features(),
        "machine": platform.machine(),
        "system": platform.system(),
        "interpreter": f"{platform.python_implementation()} {sys.version_info[0]}.{sys.version_info[1]}",
    }


def stable() -> dict[str, Any]:
    """Facts that are shown: those of `hardware`, Python's version, and those of all packages adapters need."""
    return {**hardware(), "python": platform.python_version(), "packages": versions()}


def volatile() -> dict[str, Any]:
    """Facts that are recorded and never keyed: load, governor, kernel, deploykit's version."""
    load = os.getloadavg() if hasattr(os, "getloadavg") else ()
    return {
        "load": [round(v, 2) for v in load],
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "unknown",
        "kernel": platform.release(),
        "deploykit": __version__,
    }


def here() -> dict[str, Any]:
    """All facts of this host, for a row: the stable ones, the volatile ones, and its name."""
    return {**stable(), **volatile(), "host": platform.node()}


def versions() -> dict[str, str]:
    """Versions of the packages that adapters need to build and run candidates; imports none of them."""
    own = [folder for kind in present(_ADAPTERS) for folder in importlib.import_module(f"deploykit.{kind}").__path__]
    return dict(_versions(*extras.stamps([*own, *sys.path])))


@lru_cache(maxsize=4)  # every row of a sweep records them, and asking takes longer than recording
def _versions(_folders: tuple[str, ...], _changes: tuple[int, ...]) -> dict[str, str]:
    found = {"numpy": np_version} if (np_version := extras.version("numpy")) else {}
    for kind in present(_ADAPTERS):
        known = registry(f"deploykit.{kind}", "adapter")
        for name in known.names():
            with contextlib.suppress(Exception):  # an adapter that cannot be imported is shown by doctor
                found |= all_versions(known.get(name))
    return {k: v for k, v in sorted(found.items()) if v}


def core_count() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def cpu_features() -> tuple[str, ...]:
    """The features of `_FEATURES` this CPU has, as far as the system tells."""
    text = _read("/proc/cpuinfo")
    for line in text.splitlines():
        if line.startswith(("flags", "Features")):
            present = set(line.partition(":")[2].split())
            return tuple(f for f in _FEATURES if f in present)
    return ()


def steal_seconds() -> float:
    """CPU seconds the hypervisor has given to other guests since boot; 0 where it is not told."""
    first = _read("/proc/stat").partition("\n")[0].split()
    return int(first[8]) / os.sysconf("SC_CLK_TCK") if len(first) > 8 else 0.0


def _cpu_name() -> str:
    """The CPU's name; a board's own name where it has one, since boards of different speed name the same chip."""
    if board := _read("/proc/device-tree/model").strip("\0"):
        return board
    said = {k.strip().lower(): v.strip() for k, _, v in (x.partition(":") for x in _read("/proc/cpuinfo").splitlines())}
    if name := said.get("model name") or said.get("hardware"):
        return name
    fallback = platform.processor() or platform.machine() or sys.platform
    part = [said[key] for key in ("cpu implementer", "cpu part") if said.get(key)]  # of Arm servers
    return " ".join([fallback, *part])


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""

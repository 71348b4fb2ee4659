"""What a bug report needs: versions, CPU, devices, and why one is unavailable."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

from deploykit._version import __version__
from deploykit.core.errors import DeploykitError
from deploykit.core.extras import SERVER, version
from deploykit.core.registry import Registry, present, registry
from deploykit.core.serial import Plain
from deploykit.measuring.devices import RuntimeState, runtime_states
from deploykit.measuring.environment import stable, volatile
from deploykit.sandbox.supervisor import default_method

#: Packages of adapters: name of the package → what an adapter is called.
_REGISTRIES = {
    "runtimes": "runtime",
    "loading": "format",
    "converters": "converter",
    "transforms": "technique",
    "metrics": "metric",
    "exporters": "layout",
    "engines": "engine",
}


@dataclass(frozen=True)
class Diagnosis(Plain):
    """The state of this installation.

    Attributes:
        version: deploykit's version.
        environment: CPU, cores, features, system, versions, load.
        processes: How child processes start here.
        runtimes: State of each runtime.
        adapters: Kind → name → what is missing, "" when it can be used.
        notes: What will be slow or impossible here, in words.

    Example:
        >>> diagnosis = dk.doctor()
        >>> [runtime.name for runtime in diagnosis.runtimes if runtime.devices]
        [...'onnxruntime'...]
    """

    version: str
    environment: dict[str, Any]
    processes: str
    runtimes: tuple[RuntimeState, ...]
    adapters: dict[str, dict[str, str]]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        facts = self.environment
        lines = [
            f"deploykit {self.version}, Python {facts['python']}, {facts['system']} {facts['kernel']} "
            f"{facts['machine']}",
            f"CPU: {facts['cpu']}, {facts['cores']} cores, features: {', '.join(facts['features']) or 'unknown'}",
            f"load {facts['load']}, governor {facts['governor']}, child processes: {self.processes}",
            "packages: " + ", ".join(f"{k} {v}" for k, v in facts["packages"].items()),
        ]
        for runtime in self.runtimes:
            lines.append(f"runtime {runtime.name}: {runtime.problem or 'ok'}")
            lines += [f"  {'✓' if d.available else '✗'} {d.name}: {d.detail}" for d in runtime.devices]
        for kind, names in self.adapters.items():
            shown = [n if not problem else f"{n} ({problem})" for n, problem in names.items()]
            lines.append(f"{kind}: {', '.join(shown) or 'none'}")
        return "\n".join([*lines, *(f"note: {n}" for n in self.notes)])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def doctor() -> Diagnosis:
    """Show what this machine and installation can do; runtimes are queried in child processes.

    Example:
        >>> diagnosis = dk.doctor()
        >>> diagnosis.adapters["runtimes"]["onnxruntime"]  # nothing is missing
        ''
    """
    adapters = {kind: _adapters(kind, _REGISTRIES[kind]) for kind in present(_REGISTRIES)}
    return Diagnosis(
        __version__,
        {**stable(), **volatile()},
        default_method(),
        runtime_states(),
        adapters,
        tuple(_notes()),
    )


def _adapters(kind: str, what: str) -> dict[str, str]:
    names: Registry[Any] = registry(f"deploykit.{kind}", what)
    found = {}
    for name in names.names():
        try:
            found[name] = names.get(name).missing()
        except DeploykitError as error:
            found[name] = str(error)
    return found


def _notes() -> list[str]:
    facts, now = stable(), volatile()
    notes = []
    if version("deploykit").endswith(SERVER):
        notes.append("here is the part of deploykit that serves what it exported: it makes no candidates")
    features = set(facts["features"])
    int8 = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}
    if features and not features & int8:
        notes.append("this CPU has no int8 dot-product instructions: int8 models gain little speed here")
    if now["governor"] not in {"performance", "unknown"}:
        notes.append(f"the CPU governor is {now['governor']!r}: latency is steadier with 'performance'")
    if now["load"] and now["load"][0] > facts["cores"] / 2:
        notes.append(f"load is {now['load'][0]}: latency will be noisy while other programs run")
    if facts["cores"] == 1:
        notes.append("one core: building and timing share it")
    return notes

"""Which format is proved on which runtime and device, as ``tests/proof/test_places.py`` has left it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploykit.core.registry import registry
from deploykit.loading._contract import FORMATS

#: What another test than that of the table shows: format, runtime, device → what was done, and where.
ELSEWHERE = {
    ("pytorch", "executorch", "cpu"): ("proved", "tests/proof/test_runtimes.py"),
    ("onnx", "tensorrt", "cuda"): ("built", "tests/runtimes/test_engines.py"),
}
RESULT = Path(__file__).parents[2] / "tests" / "proof" / "places.json"


def page() -> str:
    """The table, as Markdown, and below it the devices that were not there."""
    return "\n".join(_lines(json.loads(RESULT.read_text("utf-8")))) + "\n"


def _lines(found: dict[str, dict[str, Any]]) -> Iterator[str]:
    for (given, runtime, device), (state, _) in ELSEWHERE.items():
        found["formats"].setdefault(given, {}).setdefault(runtime, {})[device] = state
    known = registry("deploykit.runtimes", "runtime")
    runtimes = [name for name in known.names() if name in found["devices"]]
    yield "| from | " + " | ".join(known.get(name).label for name in runtimes) + " |"
    yield "| --- |" + " --- |" * len(runtimes)
    for name in FORMATS.names():
        ways = found["formats"].get(name, {})
        yield (
            f"| {FORMATS.get(name).label} | " + " | ".join(_cell(ways.get(runtime, {})) for runtime in runtimes) + " |"
        )
    yield ""
    for name in runtimes:
        proved = {d for ways in found["formats"].values() for d, s in ways.get(name, {}).items() if s == "proved"}
        built = {d for ways in found["formats"].values() for d, s in ways.get(name, {}).items() if s == "built"}
        absent = [device for device in found["devices"][name] if device not in proved | built]
        if absent:
            yield f"- {known.get(name).label}: {', '.join(f'`{device}`' for device in absent)} detected only."


def _cell(devices: dict[str, str]) -> str:
    """Proved devices, then what was only built; a dash where nothing leads."""
    proved = [f"`{device}`" for device, state in sorted(devices.items()) if state == "proved"]
    built = [f"`{device}`: built, not run" for device, state in sorted(devices.items()) if state == "built"]
    return ", ".join(proved + built) or "—"

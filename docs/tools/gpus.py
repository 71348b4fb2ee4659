"""What ``tests/device/gpu.py`` has measured on GPUs, from the results files that it leaves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from deploykit.core.registry import registry
from deploykit.core.result import Latency
from deploykit.reporting import numbers
from docs.tools.buys import plain

RESULTS = Path(__file__).parents[2] / "tests" / "device" / "results"
#: What is said where no file is of a GPU.
NONE = (
    "**No result yet**: the script has not been run on a GPU. `--device cpu` runs the same path without one, and the "
    "tests do so; numbers of a CPU say nothing about a GPU and are not shown here."
)
_HEAD = ("model", "batch", "runtime", "dtype", "p50, ms", "p50 with transfers, ms", "speed-up",
         "answers, against float32 on the CPU")  # fmt: skip


def page(folder: Path = RESULTS) -> str:
    """The tables of all GPUs, as Markdown."""
    found = [result for result in map(_read, sorted(folder.glob("*.json"))) if result["device"] != "cpu"]
    return "\n".join(line for result in found for line in lines(result)) + "\n" if found else f"{NONE}\n"


def _read(path: Path) -> dict[str, Any]:
    """A results file.

    Raises:
        ValueError: It is not one; names it.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        list(lines(found))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a results file of tests/device/gpu.py: {error!r}") from error
    return found


def lines(result: dict[str, Any]) -> Iterator[str]:
    """One results file: the card, a table, and what is to be known about it."""
    driver = f", driver {result['driver']}" if result["driver"] else ""
    yield f"### {plain(result['card'])}\n"
    yield f"{plain(result['versions'])}{plain(driver)}, {plain(result['date'])}.\n"
    yield _line(_HEAD)
    yield _line("---" for _ in _HEAD)
    for part in result["parts"]:
        yield from (_line([part["model"], str(part["batch"]), *_cells(row)]) for row in part["rows"])
    yield ""
    for part in result["parts"]:
        noise = f"noise floor {100 * part['noise_floor']:.1f} %"
        yield f"- {_of(part)}: {part['launches']} launches, {noise}{_state(part)}."
        yield from (
            f"- {_of(part)}: {plain(name)} is left out, {plain(why)}." for name, why in part["left_out"].items()
        )
    yield ""


def _cells(row: dict[str, Any]) -> Iterator[str]:
    """From the runtime on."""
    name, _, rest = row["variant"].partition(" ")
    known = registry("deploykit.runtimes", "runtime")
    more = " ".join(word for word in rest.split() if word != row["precision"])
    yield f"{known.get(name).label if name in known else plain(name)}{f' ({plain(more)})' if more else ''}"
    yield plain(row["precision"])
    if row["problem"]:
        yield from ("—", "—", "—", f"not timed: {plain(row['problem'])}")
        return
    compute, whole = Latency.from_json(row["compute"]), Latency.from_json(row["whole"])
    yield numbers.milliseconds(compute.p50_ms)
    yield numbers.milliseconds(whole.p50_ms)
    yield _speed(compute)
    yield f"within {row['error']:.1g} of their spread" if row["error"] else "equal"


def _speed(latency: Latency) -> str:
    said = plain(numbers.times(latency.speedup))
    flags = "".join(f", {flag}" for flag in latency.flags)
    words = {"baseline": "baseline", "faster": said, "slower": f"slower: {said}", "same": f"the same: {said}"}
    return f"{words.get(latency.claim, f'not distinguishable: {said}')}{flags}"


def _of(part: dict[str, Any]) -> str:
    return f"{plain(part['model'])}, batch {part['batch']}"


def _state(part: dict[str, Any]) -> str:
    """Clocks and temperature while it was measured, and why the card slowed itself down."""
    units = {"sm_mhz": ("clock", "MHz", 1), "celsius": ("temperature", "°C", 1), "milliwatts": ("power", "W", 1000)}
    found = [
        f", {word} {part['clocks'][name][0] / scale:.0f} to {part['clocks'][name][2] / scale:.0f} {unit}"
        for name, (word, unit, scale) in units.items()
        if name in part["clocks"]
    ]
    slowed = f"; **throttled**: {plain('; '.join(part['slowed']))}" if part["slowed"] else ""
    return "".join(found) + slowed


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"

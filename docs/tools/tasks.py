"""Which tasks are proved from which format on which runtime, as ``tests/proof/test_tasks.py`` has left it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploykit.core.registry import registry
from deploykit.loading._contract import FORMATS

RESULT = Path(__file__).parents[2] / "tests" / "proof" / "tasks.json"


def page() -> str:
    """The table, as Markdown."""
    return "\n".join(_lines(json.loads(RESULT.read_text("utf-8")))) + "\n"


def _lines(found: dict[str, dict[str, Any]]) -> Iterator[str]:
    formats = list(dict.fromkeys(way.partition(" on ")[0] for ways in found.values() for way in sorted(ways)))
    yield "| task | metric | " + " | ".join(f"from {FORMATS.get(name).label}" for name in formats) + " |"
    yield "| --- | --- |" + " --- |" * len(formats)
    for task, ways in found.items():
        metrics = sorted({way["metric"] for way in ways.values() if isinstance(way, dict)})
        cells = [task, ", ".join(f"`{metric}`" for metric in metrics)]
        for name in formats:
            proofs = {way.partition(" on ")[2]: result for way, result in ways.items() if way.startswith(f"{name} on ")}
            cells.append("<br>".join(_proof(runtime, result) for runtime, result in sorted(proofs.items())))
        yield "| " + " | ".join(cells) + " |"


def _proof(runtime: str, result: Any) -> str:
    label = registry("deploykit.runtimes", "runtime").get(runtime).label
    if not isinstance(result, dict):
        return f"{label}: {result}"
    return f"{label}: {result['original']:.3g} → {result['candidate']:.3g}"

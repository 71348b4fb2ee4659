"""The tables of the README that come from the adapters: ``python tests/readme_tables.py`` rewrites them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from deploykit.core.registry import registry

README = Path(__file__).parents[1] / "README.md"
_TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def formats() -> list[list[str]]:
    """One line a format."""
    found = registry("deploykit.loading", "format").all()
    rows = ([a.label, ", ".join(f"`{s}`" for s in a.suffixes) or "folder", a.help] for a in found)
    return [["format", "ending", "what it is"], *rows]


def techniques() -> list[list[str]]:
    """One line a technique."""
    found = registry("deploykit.transforms", "technique").all()
    rows = ([f"`{a.name}`", ", ".join(f"`{p.name}`" for p in a.parameters) or "none", a.help] for a in found)
    return [["technique", "settings", "what it buys"], *rows]


def runtimes() -> list[list[str]]:
    """One line a runtime."""
    found = registry("deploykit.runtimes", "runtime").all()
    rows = ([f"`{a.name}`", ", ".join(sorted(a.accepts)), a.help, a.note] for a in found)
    return [["runtime", "runs", "what it is", "good to know"], *rows]


def metrics() -> list[list[str]]:
    """One line a metric."""
    return _plain("metric", "deploykit.metrics")


def layouts() -> list[list[str]]:
    """One line an export layout."""
    return _plain("layout", "deploykit.exporters")


def _plain(what: str, package: str) -> list[list[str]]:
    return [[what, "what it is"], *([f"`{a.name}`", a.help] for a in registry(package, what).all())]


def rendered(text: str) -> str:
    """The text with every marked table rewritten."""
    tables: dict[str, Any] = {f.__name__: f for f in (formats, techniques, runtimes, metrics, layouts)}

    def table(match: re.Match[str]) -> str:
        head, *body = tables[match[2]]()
        lines = [head, ["---"] * len(head), *body]
        cells = "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines)
        return f"{match[1]}\n{cells}\n\n{match[3]}"

    return _TABLE.sub(table, text)


if __name__ == "__main__":
    README.write_text(rendered(README.read_text("utf-8")), "utf-8")

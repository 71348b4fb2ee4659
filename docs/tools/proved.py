"""How each export layout is proved, read from the marks of the tests that do it."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[2] / "tests"
#: What a mark says, strongest first → its words in the table.
WORDS = {"engine": "proved in the engine", "schema": "validated by schema", "documentation": "by documentation only"}


def layouts() -> dict[str, str]:
    """Layout → its strongest proof in words, and by what."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    best: dict[str, str] = {}
    order = list(WORDS)
    for layout, how, by in sorted(_marks(), key=lambda mark: order.index(mark[1])):
        if best.setdefault(layout, how) == how:
            found[layout][by] = None
    return {layout: f"{WORDS[how]}: {', '.join(found[layout])}" for layout, how in best.items()}


def _marks() -> Iterator[tuple[str, str, str]]:
    """Layout, kind of proof and by what, of all ``@pytest.mark.proves(LAYOUT, HOW, by=WHAT)``."""
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text("utf-8")
        if ".proves(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "proves":
                layout, how = (ast.literal_eval(argument) for argument in node.args)
                yield layout, how, ast.literal_eval(node.keywords[0].value)

"""The examples of docstrings: where they are, and what they may assume."""

from __future__ import annotations

import doctest
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deploykit

#: The page whose first block of Python every example starts from.
START = Path(__file__).parents[1] / "reference" / "api" / "index.md"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def start() -> str:
    """The lines that every example starts from, as the reference shows them."""
    found = re.search(r"```python\n(.*?)```", START.read_text("utf-8"), re.DOTALL)
    assert found, f"{START} has no block of Python"
    return found[1]


def holder(name: str) -> Any:
    """What has the docstring of a public name: the thing itself, or the module that defines a plain value."""
    value = getattr(deploykit, name)
    if isinstance(value, str):
        return sys.modules["deploykit._version"]
    return value


def of(name: str) -> Iterator[doctest.DocTest]:
    """The examples of a public name: its own first, then those of its methods, inherited ones included."""
    thing = holder(name)
    yield _parsed(f"dk.{name}", thing)
    if inspect.isclass(thing):
        for attribute, value in inspect.getmembers_static(thing):
            documented = getattr(value, "__func__", getattr(value, "fget", None) or value)
            if not attribute.startswith("_") and callable(documented) and ">>>" in (documented.__doc__ or ""):
                yield _parsed(f"dk.{name}.{attribute}", documented)


def _parsed(label: str, thing: Any) -> doctest.DocTest:
    return doctest.DocTestParser().get_doctest(inspect.getdoc(thing) or "", {}, label, label, 0)

"""The exact versions of everything that an artifact's requirements need, as they are installed here.

A wheel's hash cannot be computed from what was installed of it, and an export asks no index: hashes come later, by
``lock.py`` in the folder.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable, Iterator, Sequence

from deploykit.exporters._wheel import server_requirements

_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?[^;]*(?:;(.*))?", re.DOTALL)
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")


def constraints(requirements: Sequence[str]) -> list[str]:
    """Lines ``NAME==VERSION`` for all that is installed here and that pip may install for them, sorted.

    Markers but for extras are passed over, so packages for other systems are among them if they are installed; a
    constraint installs nothing.

    Args:
        requirements: pip requirements, deploykit's wheel for servers among them.
    """
    found: dict[str, str] = {}
    pending = [(name, extras) for name, extras, _ in map(_parts, requirements)]
    seen = set()
    while pending:
        name, extras = pending.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        if name == "deploykit":
            lines: Iterable[str] = server_requirements()
        else:
            try:
                installed = importlib.metadata.distribution(name)
            except importlib.metadata.PackageNotFoundError:  # for another system, or built into something else
                continue
            found[name] = installed.version
            lines = installed.requires or ()
        pending += _needed(lines, extras)
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def _needed(lines: Iterable[str], extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    for line in lines:
        name, wanted, marker = _parts(line)
        asked = set(_EXTRA.findall(marker))
        if not asked or asked & extras:
            yield name, wanted


def _parts(requirement: str) -> tuple[str, frozenset[str], str]:
    """Normalized name, extras and marker."""
    match = _REQUIREMENT.match(requirement.strip())
    assert match is not None, requirement
    extras = frozenset(part.strip() for part in (match[2] or "").split(",") if part.strip())
    return re.sub(r"[-_.]+", "-", match[1]).lower(), extras, match[3] or ""

"""The packages that an artifact's requirements bring with them, as they are installed here."""

from __future__ import annotations

import importlib.metadata
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploykit.core.extras import require
from deploykit.exporters import _wheel

if TYPE_CHECKING:
    from packaging.requirements import Requirement

#: A longer text is a license's own words, not its name.
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Package:
    """An installed package.

    Attributes:
        name: Its normalized name.
        version: "" if it is wanted and not installed here.
        license: SPDX expression or name, "" if it does not say.
        needs: Normalized names of the packages it needs here, sorted.
    """

    name: str
    version: str
    license: str = ""
    needs: tuple[str, ...] = ()


def closure(requirements: Iterable[str]) -> dict[str, Package]:
    """All packages by normalized name, sorted: what the requirements name, and what these need on this machine.

    Example:
        >>> from deploykit.exporters._documents.packages import closure
        >>> sorted(closure(["prometheus-client"]))
        ['prometheus-client']
    """
    require("packaging", "sweep")
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    asked: dict[str, set[str]] = {}  # package → extras
    queue = deque(Requirement(text) for text in requirements)
    needs: dict[str, set[str]] = {}
    while queue:
        one = queue.popleft()
        name = str(canonicalize_name(one.name))
        if name in asked and one.extras <= asked[name]:
            continue
        asked[name] = asked.get(name, set()) | one.extras
        wanted = [need for need in map(Requirement, _required(name)) if _applies(need, asked[name])]
        needs[name] = {str(canonicalize_name(need.name)) for need in wanted} - {name}
        queue.extend(wanted)
    return {name: _package(name, needs[name]) for name in sorted(asked)}


def _applies(requirement: Requirement, extras: set[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def _required(name: str) -> list[str]:
    if name == "deploykit":
        return _wheel.server_requirements()
    try:
        return importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []


def _package(name: str, needs: set[str]) -> Package:
    if name == "deploykit":
        return Package(name, _wheel.VERSION, "BSD-3-Clause", tuple(sorted(needs)))
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return Package(name, "", needs=tuple(sorted(needs)))
    return Package(name, found.version, _license(found), tuple(sorted(needs)))


def _license(found: importlib.metadata.Distribution) -> str:
    for key in ("License-Expression", "License"):
        text = str((found.metadata.get_all(key) or ("",))[0]).strip()
        if text and "\n" not in text and len(text) <= _LONGEST_NAME and text.upper() != "UNKNOWN":
            return text
    kinds = found.metadata.get_all("Classifier") or []
    names = [kind.rpartition(" :: ")[2] for kind in kinds if kind.startswith("License :: ")]
    return "; ".join(name for name in names if name != "OSI Approved")

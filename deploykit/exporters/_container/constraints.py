"""The exact versions of everything that an artifact's requirements need, as they are installed here.

A wheel's hash cannot be computed from what was installed of it, and an export asks no index: hashes come later, by
``lock.py`` in the folder.
"""

from __future__ import annotations

from collections.abc import Sequence

from deploykit.exporters._documents.packages import closure


def constraints(requirements: Sequence[str]) -> list[str]:
    """Lines ``NAME==VERSION`` for all that is installed here and that pip may install for them, sorted.

    Args:
        requirements: pip requirements, deploykit's wheel for servers among them.
    """
    found = closure(requirements).values()
    return [f"{one.name}=={one.version}" for one in found if one.version and one.name != "deploykit"]

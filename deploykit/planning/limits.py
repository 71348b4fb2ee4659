"""Limits of what a sweep has done in child processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Limits:
    """Limits of a child process: ``timeout_s`` seconds, ``memory_bytes`` resident (0: the default)."""

    timeout_s: float = 600.0
    memory_bytes: int = 0

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """From checked options, see `deploykit.core.settings.options.ProcessOptions`."""
        return cls(options["timeout"], int(options["memory"] * 1e9))

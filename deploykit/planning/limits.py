"""Limits of what a sweep has done in child processes."""

from __future__ import annotations

from dataclasses import dataclass

from deploykit.core.errors import SettingError


@dataclass(frozen=True)
class Limits:
    """Limits of a child process: ``timeout_s`` seconds, ``memory_bytes`` resident (0: the default)."""

    timeout_s: float = 600.0
    memory_bytes: int = 0

    def __post_init__(self) -> None:
        if not self.timeout_s > 0:
            raise SettingError(f"timeout must be more than 0 seconds, got {self.timeout_s:g}.")
        if self.memory_bytes < 0:
            raise SettingError(f"memory must be at least 0 GB (0: the default), got {self.memory_bytes / 1e9:g}.")

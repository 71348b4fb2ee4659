"""The audit log: who asked for which predictions, who was turned away, and who changed what is served."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploykit.core.security.audit import Audit
from deploykit.serving.records.entry import Entry, wall
from deploykit.serving.records.recorder import Act, Sink

#: Statuses of those who are turned away.
_TURNED_AWAY = frozenset(("401", "403", "UNAUTHENTICATED", "PERMISSION_DENIED"))


class AuditLog(Sink):
    """Writes what concerns an audit.

    Args:
        path: The log.

    Raises:
        SettingError: It cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._audit = Audit(path)

    def write(self, found: Sequence[Entry | Act], lost: int) -> None:
        """Add predictions, requests that were turned away, and acts."""
        lines = [dict(one) if isinstance(one, Act) else _line(one) for one in found if _concerns(one)]
        if lost:
            lines.append({"action": "lost", "requests": lost})
        if lines:
            self._audit.add(lines)

    def close(self) -> None:
        """End."""
        self._audit.close()


def _concerns(one: Entry | Act) -> bool:
    return isinstance(one, Act) or one.predicts or one.status in _TURNED_AWAY


def _line(entry: Entry) -> dict[str, Any]:
    visit = entry.visit
    return {
        "at": round(wall(entry.ended), 3),
        "action": "predict" if entry.predicts else "ask",
        "token": entry.token,
        "request_id": entry.id,
        "protocol": entry.protocol,
        "path": entry.shown_path,
        "model": visit.model,
        "version": visit.version,
        "examples": visit.examples,
        "status": entry.status,
    }

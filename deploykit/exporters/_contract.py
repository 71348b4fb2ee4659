"""What an export layout is.

`Exporter.write` fills a temporary folder; `deploykit.exporters._export` adds manifest and golden data, verifies the
result in a child process and only then renames it into place.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

from deploykit.core.adapter import Adapter
from deploykit.core.artifact import Exportable
from deploykit.core.registry import Registry


class Exporter(Adapter):
    """An export layout.

    Attributes:
        accepts: Formats it can hold; None: any.
    """

    accepts: ClassVar[frozenset[str] | None] = None

    def refuses(self, format_name: str) -> str:
        """Why it cannot hold a format; "" when it can."""
        if self.accepts is None or format_name in self.accepts:
            return ""
        return f"the layout {self.name!r} holds {', '.join(sorted(self.accepts))}, not {format_name}"

    @abstractmethod
    def write(self, candidate: Exportable, folder: Path) -> str:
        """Write model and layout files into an empty folder.

        Returns:
            Path of the model in it, relative to ``folder``, with forward slashes.
        """


EXPORTERS: Registry[Exporter] = Registry("deploykit.exporters", "layout")

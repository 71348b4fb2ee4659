"""What runtimes compile for one device of one machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Stands for the format of what a runtime has compiled for a device of one machine; only that runtime opens it.
COMPILED = "compiled"


@dataclass
class CompileJob:
    """What a runtime compiles.

    Attributes:
        source: The model file or folder.
        target: Where to write what is compiled: a file, or a folder.
        source_format: Format of ``source``.
        device: The device it is for.
        batch_size: Examples per inference.
        notes: Facts to report with the candidate, for example the precision of layers.
    """

    source: Path
    target: Path
    source_format: str
    device: str
    batch_size: int = 1
    notes: dict[str, Any] = field(default_factory=dict)

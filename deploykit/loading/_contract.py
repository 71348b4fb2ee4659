"""What a model format is.

`Format.matches` runs in the user's process and sees bytes only. `Format.read` runs in a child process behind the
gate: it may parse the file, and runs nothing of it.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from deploykit.core.adapter import Adapter
from deploykit.core.model import Layer, TensorSpec
from deploykit.core.registry import Registry
from deploykit.core.serial import Plain


@dataclass(frozen=True)
class Summary(Plain):
    """What a format's reader finds in a file; see `deploykit.core.model.Model` for the fields."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layers: tuple[Layer, ...] = ()
    parameter_count: int = 0
    warnings: tuple[str, ...] = ()
    extra_files: tuple[str, ...] = field(default=())


class Format(Adapter):
    """A model file format.

    Attributes:
        suffixes: Usual endings, with the dot; empty for folders.
        is_folder: Whether a model of this format is a folder.
    """

    suffixes: ClassVar[tuple[str, ...]]
    is_folder: ClassVar[bool] = False

    @abstractmethod
    def matches(self, path: Path, head: bytes) -> bool:
        """Whether the content is of this format.

        Args:
            path: File or folder, known to exist and to be no device.
            head: The first 4096 bytes of a file, b"" for a folder.
        """

    @abstractmethod
    def read(self, path: Path, *, trusted: bool, imports: tuple[str, ...]) -> Summary:
        """Parse the file's structure in a child process, without running anything.

        Raises:
            ModelFileError: Truncated, broken or hostile; names the file and the member.
            UnsafeModelError: It would run code of its own and ``trusted`` is false.
        """


FORMATS: Registry[Format] = Registry("deploykit.loading", "format")

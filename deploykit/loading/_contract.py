"""What a model format is.

`Format.matches` runs in the user's process and sees bytes only. `Format.read` runs in a child process behind the
gate: it may parse the file, and runs nothing of it.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from deploykit.core.adapter import Adapter, Group
from deploykit.core.errors import UnsupportedModelError
from deploykit.core.model import Layer, TensorSpec
from deploykit.core.registry import Registry
from deploykit.core.serial import Plain


@dataclass(frozen=True)
class Summary(Plain):
    """What a format's reader finds in a file; see `deploykit.core.model.Model` for the fields.

    Without outputs it is incomplete: `Format.read_fully` is asked then. ``extra_files`` are the paths of further files
    the model consists of; they count for its digest and size.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layers: tuple[Layer, ...] = ()
    parameter_count: int = 0
    warnings: tuple[str, ...] = ()
    extra_files: tuple[str, ...] = field(default=())
    operator_set: int = 0


class Format(Adapter):
    """A model file format.

    Attributes:
        suffixes: Usual endings, with the dot; empty for folders.
        is_folder: Whether a model of this format is a folder.
        full_group: Import group in which `read_fully` can run; None when `read` tells all. Formats that have one can
            use the user's own classes.
    """

    suffixes: ClassVar[tuple[str, ...]]
    is_folder: ClassVar[bool] = False
    full_group: ClassVar[Group | None] = None

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

    def read_fully(self, path: Path, *, trusted: bool, imports: tuple[str, ...]) -> Summary:
        """Read the summary by loading the model in its own framework, in a child of `full_group`.

        Called when `read` could not tell the signature, after it has found nothing unsafe.
        """
        raise UnsupportedModelError(
            f"{path}: the signature of this {self.label} file cannot be told.", remedy="export the model again."
        )


FORMATS: Registry[Format] = Registry("deploykit.loading", "format")

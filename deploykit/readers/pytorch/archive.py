"""Which of PyTorch's zip archives a file is, by the names of its members."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal

from deploykit.core.errors import ModelFileError
from deploykit.readers.archive import check_archive

#: ``program``: an exported program (``.pt2``); ``script``: TorchScript; ``compiled``: a library that AOTInductor has
#: built, with or without the program; ``pickle``: a checkpoint or a whole module; "": none of these.
Kind = Literal["program", "script", "compiled", "pickle", ""]

#: The member of an exported program that holds its graph, and what ``torch.export.save`` calls the program.
NAME = "model"
GRAPH = f"models/{NAME}.json"
#: The two lines that make a file which can be read.
TWO_LINES = (
    'program = torch.export.export(model.eval(), (example,), dynamic_shapes=({0: torch.export.Dim("batch")},)); '
    'torch.export.save(program, "model.pt2")'
)
#: The member by which deploykit asks its runtime to compile a program.
WISH = "extra/deploykit.json"
_AGAIN = "export the model again, or download it again."


def root_of(names: Iterable[str]) -> str:
    """The folder in the archive that holds all its members, with the slash; "" when there is none."""
    tops = {name.partition("/")[0] if "/" in name else "" for name in names}
    return f"{tops.pop()}/" if len(tops) == 1 and tops != {""} else ""


def kind_of(names: Collection[str]) -> Kind:
    """What an archive is, by the names of its members."""
    root = root_of(names)
    inner = {name.removeprefix(root) for name in names}
    if any(name.startswith("data/aotinductor/") for name in inner):
        return "compiled"
    if any(name.startswith("models/") and name.endswith(".json") for name in inner) and "archive_format" in inner:
        return "program"
    if "data.pkl" not in inner:
        return ""
    return "script" if "constants.pkl" in inner and any(n.startswith("code/") for n in inner) else "pickle"


class Archive:
    """An archive whose directory has been checked; its members are read one by one, each with a limit.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.members = {member.filename: member for member in check_archive(path)}
        self.root = root_of(self.members)
        self.kind = kind_of(self.members)
        self._zip = zipfile.ZipFile(path)

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def has(self, name: str) -> bool:
        """Whether a member is there, by its name below the root."""
        return f"{self.root}{name}" in self.members

    def names(self, start: str = "") -> list[str]:
        """Names of members below the root that begin so."""
        inner = (name.removeprefix(self.root) for name in self.members)
        return sorted(name for name in inner if name.startswith(start))

    def size(self, name: str) -> int:
        """Unpacked size of a member; -1 when it is not there."""
        member = self.members.get(f"{self.root}{name}")
        return -1 if member is None else member.file_size

    def head(self, name: str, size: int) -> bytes:
        """How a member begins, b"" where it cannot be read."""
        try:
            with self._zip.open(f"{self.root}{name}") as file:
                return file.read(size)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError, KeyError):
            return b""

    def read(self, name: str, limit: int) -> bytes:
        """The content of a member.

        Raises:
            ModelFileError: It is not there, is larger than the limit, or is damaged.
        """
        member = self.members.get(f"{self.root}{name}")
        if member is None:
            held = ", ".join(self.names()[:8])
            raise ModelFileError(f"{self.path}: the archive has no {name}; it holds {held}.", remedy=_AGAIN)
        if member.file_size > limit:
            raise ModelFileError(
                f"{self.path}: {name} has {member.file_size:,} bytes (limit {limit:,}).", remedy="do not use this file."
            )
        try:
            if self._zip.fp is None:  # closed: weights are read long after the graph
                with zipfile.ZipFile(self.path) as archive:
                    return archive.read(member)
            return self._zip.read(member)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError) as error:
            raise ModelFileError(f"{self.path}: {name} is damaged: {error}.", remedy=_AGAIN) from error

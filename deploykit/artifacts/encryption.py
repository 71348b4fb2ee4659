"""What of an artifact is encrypted, and how it is read."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from deploykit.core.errors import ExportError
from deploykit.core.security.keys import Key
from deploykit.core.security.memory import MemoryFiles
from deploykit.core.security.sealing import seal, unseal
from deploykit.core.serial import Plain


@dataclass(frozen=True)
class Encryption(Plain):
    """How files of an artifact are encrypted.

    Attributes:
        key: Id of the key, from which the key does not follow.
        files: Relative paths of the files that are encrypted: the model's, and the golden data.
    """

    key: str
    files: tuple[str, ...]

    def model(self, folder: Path, name: str, others: Collection[str], key: Key) -> MemoryFiles:
        """The model, to be decrypted when it is read.

        Args:
            folder: The artifact's folder.
            name: Relative path of the model.
            others: Encrypted files that are not the model's.
            key: The key.
        """
        names = tuple(file for file in self.files if file not in others)
        return MemoryFiles(name, names, lambda file: unseal(folder / file, file, key), str(folder / name))


class Vault:
    """Writes files of an artifact, encrypted if there is a key.

    Args:
        key: The key; None: files are written as they are.
        folder: The artifact's folder.
    """

    def __init__(self, key: Key | None, folder: Path) -> None:
        self.key = key
        self._folder = folder
        self._sealed: list[str] = []

    def encryption(self, *also: str) -> Encryption | None:
        """What was encrypted, and ``also`` by others; None if there is no key."""
        return None if self.key is None else Encryption(self.key.id, tuple(sorted({*self._sealed, *also})))

    def copy(self, source: Path, name: str, copied: Callable[[Path, Path], None]) -> None:
        """Put a file or folder into the artifact.

        Args:
            source: The file or folder.
            name: Its relative path in the artifact.
            copied: Copies it if there is no key.
        """
        if self.key is None:
            copied(source, self._folder / name)
        elif source.is_dir():
            for file in sorted(source.rglob("*")):
                if file.is_file():
                    self.copy(file, f"{name}/{file.relative_to(source).as_posix()}", copied)
        else:
            with source.open("rb") as content:
                self._seal(content, source.stat().st_size, name)

    def write(self, content: bytes, name: str) -> None:
        """Put a file with this content into the artifact."""
        if self.key is None:
            (self._folder / name).write_bytes(content)
        else:
            self._seal(io.BytesIO(content), len(content), name)

    def read(self, name: str) -> bytes:
        """The content of a file of the artifact."""
        return (
            (self._folder / name).read_bytes()
            if self.key is None
            else bytes(unseal(self._folder / name, name, self.key))
        )

    def _seal(self, content: BinaryIO, size: int, name: str) -> None:
        assert self.key is not None
        target = self._folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        seal(content, size, target, name, self.key)
        self._sealed.append(name)


def check_key(encryption: Encryption | None, key: Key | None, shown: str) -> None:
    """Raise `ExportError` unless the key is the one, if there must be one."""
    if encryption is None and key is not None:
        raise ExportError(f"{shown} is not encrypted, and a key was given.", remedy="leave the key out.")
    if encryption is not None and key is None:
        raise ExportError(
            f"{shown} is encrypted with the key {encryption.key}, and no key was given.",
            remedy="say where it is: key='env:NAME' (--key env:NAME), or file:, keyring: or cmd:.",
        )
    if encryption is not None and key is not None and key.id != encryption.key:
        raise ExportError(
            f"{shown} is encrypted with the key {encryption.key}; the key given is {key.id}.",
            remedy="give the key that it was exported with.",
        )

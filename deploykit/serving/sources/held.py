"""A version of a model, and whether its files are still what they were."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deploykit.artifacts.artifact import Artifact, is_artifact
from deploykit.artifacts.encryption import check_key
from deploykit.artifacts.signing import PublicKey
from deploykit.core.errors import ServeError
from deploykit.core.security.keys import Key
from deploykit.core.settings.serving import ServingSettings
from deploykit.serving.sources.adopt import adopt
from deploykit.serving.sources.wishes import Wish, stands_alone, versions_of

#: Paths, sizes and times of files.
Seen = frozenset[tuple[str, int, int]]
#: Whether a version has changed is decided by so many of its files.
_MOST_FILES = 10_000


@dataclass(frozen=True)
class Terms:
    """How all versions of a server's models are opened.

    Attributes:
        settings: How they are served; None: as their manifests say.
        trusted: Allow operators that touch files or run code.
        key: The key that they are encrypted with; None: they are not.
        signer: The key that must have signed them; None: they need not be signed.
    """

    settings: ServingSettings | None = None
    trusted: bool = False
    key: Key | None = None
    signer: PublicKey | None = None


@dataclass(frozen=True)
class Held:
    """A version that is proved.

    Attributes:
        artifact: What it is.
        folder: Where it was opened.
        seen: Sizes and times of its folder's files when it was opened.
        source: What it was made of: an adopted one's folder stays as long as this does.
        proved: Whether it has been proved already, as adopting a model does.
    """

    artifact: Artifact
    folder: Path
    seen: Seen
    source: Artifact
    proved: bool

    @classmethod
    def open(cls, folder: Path, wish: Wish, terms: Terms) -> Self:
        """Open the folder of a version.

        Args:
            folder: An artifact, or a model that was not exported.
            wish: The model.
            terms: How it is opened.

        Raises:
            DeploykitError: It cannot be opened.
        """
        settings, key = terms.settings, terms.key
        seen = seen_of(folder)
        exported = is_artifact(folder)
        if exported:
            whole = Artifact.open(folder, key)
            check_key(whole.manifest.encryption, key, str(folder))
            if terms.signer is not None:
                whole.check_signature(terms.signer)
        elif terms.signer is not None:
            raise ServeError(
                f"{folder} is not an exported artifact, and a signature by {terms.signer.path.name} is required.",
                remedy="export it with deploykit export, then sign it.",
            )
        elif key is not None:
            raise ServeError(
                f"{folder} is not an encrypted artifact, and a key was given.", remedy="leave the key out."
            )
        else:
            whole = adopt(folder, wish.name, classes=wish.classes, settings=settings, trusted=terms.trusted)
        return cls(whole.served_with(settings) if settings else whole, folder, seen, whole, proved=not exported)


def versions_in(wish: Wish) -> Mapping[int, Path]:
    """Versions of a model by number; one that stands alone is version 1."""
    if stands_alone(wish.path):
        return {1: wish.path}
    found = versions_of(wish.path)
    return {v: folder / wish.file if wish.file and not is_artifact(folder) else folder for v, folder in found.items()}


def absent(wish: Wish, there: Collection[int]) -> ServeError | None:
    """What is wrong if a version that is wanted, or any at all, is not there."""
    missing = ", ".join(str(v) for v in wish.numbers if v not in there)
    if not missing and wish.of(there):
        return None
    return ServeError(
        f"The model {wish.name!r} has no version {missing or 'at all'} in {wish.path}.",
        remedy="put each version into a folder there with a number for its name.",
    )


def seen_of(path: Path) -> Seen:
    """Sizes and times of a file, or of a folder's files."""
    found = []
    files = [path] if path.is_file() else path.rglob("*")
    for file in files:
        try:
            state = file.stat()
        except OSError:
            continue
        found.append((str(file), state.st_size, state.st_mtime_ns))
        if len(found) >= _MOST_FILES:
            break
    return frozenset(found)

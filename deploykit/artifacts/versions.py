"""Versions of a model: immutable folders by digest, and one small file that says which of them is served.

::

    served/fashion/
      state.json              which releases there are, and which is served: replaced as a whole
      versions/DIGEST/        artifacts, never changed

A release is a number that stands for a digest: clients ask for numbers, and a higher one was added later. Whatever
dies at whatever moment leaves the old file or the new one, and both name folders that are complete.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from deploykit.artifacts.artifact import Artifact
from deploykit.core.errors import ExportError, SettingError
from deploykit.core.files import read_small, replace_whole, synced
from deploykit.core.serial import Plain, dump, parse

STATE, FOLDER = "state.json", "versions"
SCHEMA = 1
_MOST_BYTES = 4 << 20


@dataclass(frozen=True)
class Release(Plain):
    """A number that stands for an artifact.

    Attributes:
        number: The version that clients ask for.
        digest: Of the artifact.
        added: When it was added, seconds since 1970.
        note: Where it comes from.
    """

    number: int
    digest: str
    added: float
    note: str = ""


@dataclass(frozen=True)
class Pointer(Plain):
    """Content of ``state.json``.

    Attributes:
        releases: All of them, in the order of their numbers.
        serving: The one that answers; 0: none.
        previous: The one that a rollback goes back to; 0: none.
        loaded: Those that servers hold in memory.
        shadow: One on trial that gets copies of requests; 0: none.
        canary: One on trial that answers a share of the requests; 0: none.
        share: The canary's share.
        promoted: When the one that answers was promoted, seconds since 1970.
        schema: Version of this layout.
    """

    releases: tuple[Release, ...] = ()
    serving: int = 0
    previous: int = 0
    loaded: tuple[int, ...] = ()
    shadow: int = 0
    canary: int = 0
    share: float = 0.0
    promoted: float = 0.0
    schema: int = SCHEMA

    def release(self, number: int) -> Release:
        """The release with a number.

        Raises:
            SettingError: There is none.
        """
        for one in self.releases:
            if one.number == number:
                return one
        known = ", ".join(str(one.number) for one in self.releases) or "none"
        raise SettingError(f"There is no version {number}; there are {known}.")


class Versions:
    """The versions of a model in a folder. Servers follow what is changed here; see ``dk.serve``.

    Args:
        folder: The model's folder; it is made when the first version is added.

    Attributes:
        folder: The model's folder.

    Example:
        >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        >>> versions = dk.Versions("exported/fashion")
        >>> versions.add(dk.export(built, "exported/first", overwrite=True))
        1
        >>> versions.serving
        1
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(os.path.abspath(Path(folder).expanduser()))  # noqa: PTH100  resolve() would follow links

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Those in a folder that has some.

        Raises:
            ExportError: It has none.
        """
        found = cls(folder)
        if not is_versioned(found.folder):
            raise ExportError(
                f"{found.folder} holds no versions: it has no {STATE}.",
                remedy="add the first one: deploykit versions FOLDER --add ARTIFACT.",
            )
        found.pointer()
        return found

    # -- reading ------------------------------------------------------------------------------------------------------

    def pointer(self) -> Pointer:
        """What ``state.json`` says; nothing where it is not there.

        Raises:
            ExportError: It is not as it must be.
        """
        file = self.folder / STATE
        if not file.exists():
            return Pointer()
        try:
            found = Pointer.from_json(parse(read_small(file, _MOST_BYTES, "the versions", ExportError)))
        except (ValueError, SettingError) as error:
            raise ExportError(f"{file} is not as deploykit wrote it: {error}.", remedy="restore it.") from error
        if found.schema > SCHEMA:
            raise ExportError(f"{file} has schema {found.schema}; this version reads {SCHEMA}.", remedy="upgrade.")
        for one in found.releases:
            if not (one.digest.isalnum() and one.digest.isascii()):
                raise ExportError(f"{file} names {one.digest!r}, which is not a digest.", remedy="restore it.")
        return found

    @property
    def serving(self) -> int:
        """The version that answers, 0 for none."""
        return self.pointer().serving

    def path(self, number: int) -> Path:
        """The artifact's folder of a version.

        Raises:
            SettingError: There is no such version.
        """
        return self._place(self.pointer().release(number).digest)

    def artifact(self, number: int = 0) -> Artifact:
        """The artifact of a version; of the one that answers where none is named.

        Raises:
            ExportError: There is none, or its folder was removed.
        """
        number = number or self.serving
        if not number:
            raise ExportError(f"{self.folder} has no version yet.", remedy="add one.")
        return Artifact.open(self.path(number))

    def _place(self, digest: str) -> Path:
        return self.folder / FOLDER / digest

    @property
    def kept(self) -> tuple[int, ...]:
        """Versions whose folders must stay: what is served, held in memory, on trial or gone back to."""
        found = self.pointer()
        wanted = {found.serving, found.previous, found.shadow, found.canary, *found.loaded} - {0}
        return tuple(sorted(wanted))

    @property
    def prunable(self) -> tuple[int, ...]:
        """Versions whose folders are there and could be removed."""
        found = self.pointer()
        digests = {found.release(number).digest for number in self.kept}
        return tuple(
            one.number for one in found.releases if one.digest not in digests and self._place(one.digest).is_dir()
        )

    def rows(self) -> list[dict[str, Any]]:
        """One row per version, the newest first: number, role, digest, size, when it was added, and from where."""
        found, prunable = self.pointer(), self.prunable
        roles = {found.previous: "previous", found.shadow: "shadow", found.canary: "canary", found.serving: "serving"}
        rows = []
        for one in reversed(found.releases):
            place = self._place(one.digest)
            role = roles.get(one.number) or ("prunable" if one.number in prunable else "kept")
            rows.append(
                {
                    "version": one.number,
                    "role": role if place.is_dir() else "removed",
                    "loaded": one.number in found.loaded,
                    "digest": one.digest,
                    "size_bytes": sum(file.stat().st_size for file in place.rglob("*") if file.is_file()),
                    "added": one.added,
                    "note": one.note,
                }
            )
        return rows

    # -- changing -----------------------------------------------------------------------------------------------------

    def add(self, artifact: Artifact | str | Path, *, note: str = "") -> int:
        """Keep a copy of an artifact; the first one is served. Adding one again does nothing.

        Args:
            artifact: The artifact or its folder.
            note: Where it comes from.

        Returns:
            Its version.

        Raises:
            ExportError: Its files are not what was exported, or it was not exported by deploykit.
        """
        source = artifact if isinstance(artifact, Artifact) else Artifact.open(artifact)
        self._copy(source)
        digest = source.digest

        def added(found: Pointer) -> Pointer:
            known = [one.number for one in found.releases if one.digest == digest and one.number >= found.serving]
            if known:
                return found
            number = max((one.number for one in found.releases), default=0) + 1
            releases = (*found.releases, Release(number, digest, time.time(), note))
            if found.serving:
                return replace(found, releases=releases)
            return replace(found, releases=releases, serving=number, loaded=(number,), promoted=time.time())

        found = self._change(added)
        return max(one.number for one in found.releases if one.digest == digest)

    def _copy(self, source: Artifact) -> None:
        """A complete folder by the artifact's digest, or none."""
        place = self._place(source.digest)
        if place.is_dir():
            if problems := Artifact.open(place).problems():
                raise ExportError(f"{place} was changed: {' '.join(problems)}", remedy="remove it, and add it again.")
            return
        if problems := source.problems():
            raise ExportError(f"{source.path} is not added: {' '.join(problems)}", remedy="export it again.")
        place.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".adding-", dir=place.parent))
        try:
            for name in source.own_files:
                if (file := source.path / name).is_file():
                    (scratch / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(file, scratch / name)
            if problems := Artifact.open(scratch).problems():
                raise ExportError(f"{source.path} changed while it was copied: {' '.join(problems)}")
            scratch.chmod(0o755)
            synced(scratch)
            try:
                scratch.rename(place)
            except OSError:
                if not place.is_dir():  # another process has added it
                    raise
            synced(place.parent, deep=False)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def try_out(self, number: int, *, share: float = 0.0) -> None:
        """Have servers load a version beside the one that answers: as a shadow, or as a canary with a share.

        Raises:
            SettingError: There is no such version, it answers already, or is older than what answers.
        """

        def trying(found: Pointer) -> Pointer:
            found.release(number)
            if number <= found.serving:
                raise SettingError(
                    f"Version {number} is not newer than version {found.serving}, which is served.",
                    remedy="add its artifact again: it gets a new number.",
                )
            loaded = tuple(sorted({found.serving, number}))
            canary, shadow = (number, 0) if share else (0, number)
            return replace(found, loaded=loaded, share=share, canary=canary, shadow=shadow)

        self._change(trying)

    def promote(self, number: int) -> None:
        """Let a version answer; the one before stays loaded until `settle`, so that `rollback` takes no time.

        Raises:
            SettingError: There is no such version, or it is older than what answers.
        """

        def promoted(found: Pointer) -> Pointer:
            found.release(number)
            if number == found.serving:
                return found
            if number < found.serving:
                raise SettingError(
                    f"Version {number} is older than version {found.serving}, which is served.",
                    remedy="go back with rollback, or add its artifact again: it gets a new number.",
                )
            kept = tuple(sorted({found.serving, number} - {0}))
            return replace(
                found, serving=number, previous=found.serving, loaded=kept, shadow=0, canary=0, share=0.0,
                promoted=time.time(),
            )  # fmt: skip

        self._change(promoted)

    def settle(self) -> None:
        """Have servers give up the version before the one that answers; its folder stays."""
        self._change(lambda found: replace(found, loaded=(found.serving,), shadow=0, canary=0, share=0.0))

    def rollback(self) -> int:
        """Give up a version on trial; without one, go back to the version before.

        Returns:
            The version that answers now.

        Raises:
            SettingError: There is nothing to go back to.
        """

        def back(found: Pointer) -> Pointer:
            if found.shadow or found.canary:
                return replace(found, loaded=(found.serving,), shadow=0, canary=0, share=0.0)
            if not found.previous:
                raise SettingError(f"There is no version before version {found.serving} in {self.folder}.")
            if not self._place(found.release(found.previous).digest).is_dir():
                raise SettingError(f"Version {found.previous} was removed.", remedy="add its artifact again.")
            return replace(found, serving=found.previous, previous=0, loaded=(found.previous,), promoted=time.time())

        return self._change(back).serving

    def prune(self) -> tuple[int, ...]:
        """Remove the folders of versions that are not kept, and what was left of interrupted copies."""
        gone = self.prunable
        found = self.pointer()
        for number in gone:
            shutil.rmtree(self._place(found.release(number).digest), ignore_errors=True)
        for left in (self.folder / FOLDER).glob(".adding-*"):
            shutil.rmtree(left, ignore_errors=True)
        return gone

    def _change(self, change: Callable[[Pointer], Pointer]) -> Pointer:
        """Replace the pointer as a whole; one process at a time."""
        import filelock

        self.folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(self.folder / ".state.lock"):
            before = self.pointer()
            after = change(before)
            if after != before:
                replace_whole(self.folder / STATE, dump(after, indent=True), durable=True)
            return after

    def __str__(self) -> str:
        rows = self.rows()
        lines = [
            f"{row['version']:>4}  {row['role']:<9}{'loaded' if row['loaded'] else '':<8}{row['digest'][:12]}"
            f"{row['size_bytes'] / 1000:>10,.0f} kB  {row['note']}".rstrip()
            for row in rows
        ]
        return "\n".join([str(self.folder), *lines])

    def __repr__(self) -> str:
        return f"Versions({str(self.folder)!r}, serving {self.serving} of {len(self.pointer().releases)})"


def is_versioned(folder: Path) -> bool:
    """Whether a folder holds versions with a pointer."""
    return (folder / STATE).is_file()

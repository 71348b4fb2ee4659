"""Writing folders and files that are whole or not there at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from deploykit.artifacts.artifact import Artifact, files_of
from deploykit.core.errors import ExportError

_NEW = ".deploykit-new-"
_OLD = ".deploykit-old-"


@contextlib.contextmanager
def new_folder(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its place when the block ends well, and is removed otherwise.

    What stands at ``path`` already is replaced when it is an empty folder, or an artifact with no file that is not
    its own; anything else only with ``overwrite``, and the working folder, its parents and the home folder never.

    Raises:
        ExportError: ``path`` is taken or cannot be written, or the disk is full.
    """
    _check_free(path, overwrite)
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        temporary = _sibling(path)
        temporary.mkdir()
    try:
        with _explained(path):
            yield temporary
            _flush(temporary)
            _put(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def copy_to(source: Path, target: Path) -> None:
    """Copy a model file or folder to ``target`` atomically.

    Raises:
        ExportError: ``target`` is taken by a folder, or cannot be written.
    """
    if source.is_dir():
        with new_folder(target, overwrite=False) as folder:
            copy_model(source, folder)
        return
    if target.is_dir():
        raise ExportError(f"{target} is a folder.", remedy="give the name of a file.")
    with _explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _sibling(target)
        try:
            shutil.copyfile(source, temporary)
            _flush(temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


def copy_model(source: Path, target: Path) -> None:
    """Copy a model file or folder: contents only, links are followed."""
    if source.is_dir():
        shutil.copytree(source, target, copy_function=shutil.copyfile, dirs_exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _check_free(path: Path, overwrite: bool) -> None:
    if not path.exists() and not path.is_symlink():
        return
    if not path.is_dir() or path.is_symlink():
        raise ExportError(f"{path} exists and is not a folder.", remedy="choose another name.")
    if path == Path.home() or path in (Path.cwd(), *Path.cwd().parents):
        raise ExportError(
            f"{path} is the working folder, the home folder or a parent of one of them.",
            remedy="give the name of a folder inside it.",
        )
    present = files_of(path)
    if overwrite or not any(path.iterdir()):
        return
    try:
        own = Artifact.open(path).own_files
    except ExportError as error:
        raise ExportError(
            f"{path} is not empty and does not hold an artifact (it has {_some(present)}).",
            remedy="choose another folder, or pass overwrite=True to replace it.",
        ) from error
    if foreign := [name for name in present if name not in own]:
        raise ExportError(
            f"{path} holds files that are not part of the artifact in it: {_some(foreign)}.",
            remedy="move them, or pass overwrite=True to replace the folder.",
        )


def _put(temporary: Path, path: Path) -> None:
    """Rename into place; what was there before is put back if that fails."""
    if not path.exists():
        temporary.rename(path)
    else:
        old = _sibling(path, _OLD)
        path.rename(old)
        try:
            temporary.rename(path)
        except OSError:
            old.rename(path)
            raise
        shutil.rmtree(old, ignore_errors=True)
    _flush_entry(path.parent)


def _sibling(path: Path, mark: str = _NEW) -> Path:
    return path.parent / f".{path.name}{mark}{os.getpid()}-{secrets.token_hex(4)}"


def _remove_leftovers(path: Path) -> None:
    """Remove what an earlier export that was killed has left beside ``path``."""
    import psutil

    start = f".{path.name}{_NEW}"
    for entry in path.parent.iterdir():
        if entry.name.startswith(start):
            owner = entry.name.removeprefix(start).partition("-")[0]
            if owner.isdigit() and not psutil.pid_exists(int(owner)):
                shutil.rmtree(entry, ignore_errors=True)


def _flush(path: Path) -> None:
    for member in [path] if path.is_file() else [*path.rglob("*"), path]:
        _flush_entry(member)


def _flush_entry(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open folders
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, shutil.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ExportError(
            f"Cannot write {path}: {reason}.", remedy="check the folder's permissions and the free space."
        ) from error


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "folders"

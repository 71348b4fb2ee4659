"""Folders with one folder of files for each class, and those of training and held-out files."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploykit.core.errors import DatasetError
from deploykit.data.sources._paths import shown

_TRAIN = {"train", "training"}
_TEST = {"test", "testing"}
_VALIDATION = {"val", "valid", "validation"}


@dataclass
class Walk:
    """What was met in the folders.

    Attributes:
        root: The folder, without links; nothing outside is opened.
        endings: Those of the files.
        noun: What a file is called in messages.
        skipped: Kind → how many files of it were left out.
        folders: Sub-folders of class folders, which are not read.
        left_out: Other things that were left out, in words.
        notes: Sentences.
    """

    root: Path
    endings: Collection[str]
    noun: str
    skipped: Counter[str] = field(default_factory=Counter)
    folders: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def classes_of(folder: Path, classes: Sequence[str], walk: Walk) -> list[str]:
    """Names of the classes in their order: those that are given, or those of the folders.

    Raises:
        DatasetError: There are none.
    """
    names = list(classes) or [p.name for p in folders_of(folder, walk)]
    if not names:
        raise DatasetError(
            f"{folder} has no class folders.", remedy=f"put the {walk.noun}s in one sub-folder per class."
        )
    numbers = sorted(names, key=int) if all(n.isascii() and n.isdigit() for n in names) else names
    if not classes and numbers != names:
        early, late = next((a, b) for a, b in zip(names, numbers, strict=True) if a != b)
        walk.notes.append(
            f"the folders' names are numbers and are sorted as text, as Keras and torchvision do it: {early!r} comes "
            f"before {late!r}. If the model's classes are in the order of the numbers, give "
            f"classes=[{', '.join(map(repr, numbers[:3]))}, …] (--classes)."
        )
    return names


def known(folder: Path, names: Sequence[str], walk: Walk) -> None:
    """Raise `DatasetError` for a folder that is not one of the classes."""
    if unknown := sorted({p.name for p in folders_of(folder, walk)} - set(names)):
        raise DatasetError(
            f"{folder} holds the folder {unknown[0]!r}, which is not one of the classes {list(names)}.",
            remedy="move it away, or add a folder of that name beside the other classes.",
        )


def parts_of(path: Path, walk: Walk) -> dict[str, Path]:
    """Folders of the training (``"x"``) and the held-out files (``"x_test"``), or the one folder of all."""
    folders = folders_of(path, walk)

    def one_of(names: set[str]) -> Path | None:
        return next((p for p in folders if p.name.lower() in names), None)

    train, test, validation = one_of(_TRAIN), one_of(_TEST), one_of(_VALIDATION)
    held = [p for p in (test, validation) if p is not None and _holds_classes(p, walk)]
    others = [p for p in folders if p not in (train, test, validation)]
    if train is None or not _holds_classes(train, walk) or (others and not held):
        return {"x": path}
    parts = {"x": train}
    if held:
        parts["x_test"] = held[0]
    if held and held[0] is validation:
        walk.notes.append(
            f"the folder {held[0].name} is used for the held-out {walk.noun}s, because there is no test folder."
        )
    for folder in (p for p in (test, validation, *others) if p is not None and p not in held[:1]):
        why = f"the folder test holds the held-out {walk.noun}s" if folder in held else "it has no class folders"
        walk.left_out.append(f"folder {folder.name}: {why if folder not in others else 'it is not train, test or val'}")
    return parts


def _holds_classes(folder: Path, walk: Walk) -> bool:
    """Whether a folder holds folders of files, and no files itself."""
    return bool(folders_of(folder, walk)) and not any(
        p.suffix.lower() in walk.endings and p.is_file() for p in _entries(folder, walk)
    )


def _entries(folder: Path, walk: Walk) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {error.strerror}.", remedy="change its permissions.") from error


def folders_of(folder: Path, walk: Walk) -> list[Path]:
    # Hidden folders (.ipynb_checkpoints) and what archives leave behind (__MACOSX) are not classes.
    found = [p for p in _entries(folder, walk) if not p.name.startswith((".", "__")) and p.is_dir()]
    for link in (p for p in found if not _inside(p, walk)):
        raise DatasetError(
            f"{link} is a link to a folder outside {walk.root}, which is not followed.", remedy="copy it there."
        )
    return found


def _inside(path: Path, walk: Walk) -> bool:
    return not path.is_symlink() or path.resolve().is_relative_to(walk.root)


def files_of(folder: Path, names: list[str], walk: Walk) -> list[tuple[Path, int]]:
    """Files and the index of their class.

    Raises:
        DatasetError: There are none, or a class has none.
    """
    beside = sum(p.suffix.lower() in walk.endings and not p.is_dir() for p in _entries(folder, walk))
    if beside:
        walk.left_out.append(
            f"{beside} {walk.noun}{'s' if beside > 1 else ''} beside the class folders in {folder.name}"
        )
    found, lacking = [], []
    for index, name in enumerate(names):
        if not (folder / name).is_dir():
            continue
        before = (walk.skipped.copy(), len(walk.folders))
        mine = [(file, index) for file in members_of(folder / name, walk)]
        if not mine:
            lacking.append((name, walk.skipped - before[0], walk.folders[before[1] :]))
        found += mine
    if not found and not any(inner for _, _, inner in lacking):
        kinds = ", ".join(sorted(walk.endings))
        raise DatasetError(
            f"{folder} holds no {walk.noun}s ({kinds}){_only(walk.skipped)}.", remedy="check the folder."
        )
    for name, skipped, inner in lacking:
        where = (
            f": its {walk.noun}s may be in the sub-folder{'s' if len(inner) > 1 else ''} {shown(inner)}"
            if inner
            else ""
        )
        raise DatasetError(
            f"{folder / name} holds no {walk.noun}s for the class {name!r}{where or _only(skipped)}.",
            remedy=_moving(folder, name, inner, names, walk.noun)
            if inner
            else f"add {walk.noun}s, or remove the folder.",
        )
    return found


def _moving(folder: Path, name: str, inner: list[str], names: list[str], noun: str) -> str:
    """What to do with files in sub-folders of a class folder: alone, it may hold the classes itself."""
    if len(names) == 1 and len(inner) > 1:
        return f"give the folder {folder / name} when its sub-folders are the classes."
    return f"move the {noun}s into the class folder itself."


def members_of(folder: Path, walk: Walk) -> Iterator[Path]:
    """The files of a folder itself; what else is in it is counted."""
    for entry in _entries(folder, walk):
        if entry.name.startswith("."):
            walk.skipped["hidden"] += 1
        elif not _inside(entry, walk):
            walk.skipped["links to outside"] += 1
        else:
            try:
                mode = entry.stat().st_mode
            except OSError:
                walk.skipped["broken links"] += 1
                continue
            if stat.S_ISDIR(mode):
                walk.folders.append(os.path.relpath(entry, walk.root) if entry.is_absolute() else str(entry))
            elif not stat.S_ISREG(mode):
                walk.skipped["pipes, sockets or devices"] += 1
            elif entry.suffix.lower() in walk.endings:
                yield entry
            else:
                walk.skipped[entry.suffix.lower() or "without ending"] += 1


def _only(skipped: Counter[str]) -> str:
    return f", only {_kinds(skipped)}" if skipped else ""


def _kinds(skipped: Counter[str]) -> str:
    return ", ".join(f"{n} {kind}" for kind, n in sorted(skipped.items()))


def tell(walk: Walk) -> None:
    """Name what was left out in the class folders."""
    if walk.skipped:
        count = sum(walk.skipped.values())
        walk.left_out.append(
            f"{count} file{'s' if count > 1 else ''} that are not {walk.noun}s: {_kinds(walk.skipped)}"
        )
    if walk.folders:
        many = "s" if len(walk.folders) > 1 else ""
        walk.left_out.append(f"sub-folder{many} of class folders, which are not read: {shown(walk.folders)}")

"""Folders of images by class."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.data.reading import Found, OnRead, Origin
from deploykit.data.sources._paths import present, shown
from deploykit.data.sources._picture import Pictures
from deploykit.data.sources._stack import Stack

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Endings of images.
IMAGES = {
    ".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm",
}  # fmt: skip
_TRAIN = {"train", "training"}
_TEST = {"test", "testing"}
_VALIDATION = {"val", "valid", "validation"}


@dataclass
class _Walk:
    """What was met in the folders.

    Attributes:
        root: The folder, without links; nothing outside is opened.
        skipped: Kind → how many files of it were left out.
        folders: Sub-folders of class folders, which are not read.
        left_out: Other things that were left out, in words.
        notes: Sentences.
    """

    root: Path
    skipped: Counter[str] = field(default_factory=Counter)
    folders: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_image_folder(
    path: Path, size: tuple[int, int] | None, classes: Sequence[str], progress: OnRead | None = None
) -> Found:
    """What a folder of images by class holds.

    Args:
        path: The folder.
        size: (height, width) of all images; None for the size that most training images have.
        classes: Names of the classes in their order, () for that of the alphabet.
        progress: Called with the images that are read.
    """
    import numpy as np

    present(path, folder=True)
    walk = _Walk(path.resolve())
    parts = _parts(path, walk)
    names = list(classes) or [p.name for p in _folders(parts["x"], walk)]
    if not names:
        raise DatasetError(f"{path} has no class folders.", remedy="put the images in one sub-folder per class.")
    numbers = sorted(names, key=int) if all(n.isascii() and n.isdigit() for n in names) else names
    if not classes and numbers != names:
        early, late = next((a, b) for a, b in zip(names, numbers, strict=True) if a != b)
        walk.notes.append(
            f"the folders' names are numbers and are sorted as text, as Keras and torchvision do it: {early!r} comes "
            f"before {late!r}. If the model's classes are in the order of the numbers, give "
            f"classes=[{', '.join(map(repr, numbers[:3]))}, …] (--classes)."
        )
    found: dict[str, Any] = {"classes": names}
    pictures, stacks = Pictures(), dict[str, Stack]()
    for key, folder in parts.items():
        if unknown := sorted({p.name for p in _folders(folder, walk)} - set(names)):
            raise DatasetError(
                f"{folder} holds the folder {unknown[0]!r}, which is not one of the classes {names}.",
                remedy="move it away, or add a folder of that name beside the other classes.",
            )
        files = _files(folder, names, walk)
        size = size or usual_size(pictures, [file for file, _ in files])
        stacks[key] = stack = Stack()
        for file, _ in files:
            stack.add(pictures.read(file, size))
            if progress is not None:
                progress(len(stack), len(files), f"images of {folder.name}")
        found[key.replace("x", "y")] = np.array([i for _, i in files], np.int64)
    found |= stacked(stacks, pictures)
    _tell(walk)
    of = {"input": f"images of the class folders in {parts['x'].name or path}"}
    notes = (*walk.notes, *pictures.notes(size))
    return Found(found, Origin(str(path), "images", of, "names of the folders", tuple(walk.left_out), notes))


def _parts(path: Path, walk: _Walk) -> dict[str, Path]:
    """Folders of the training and the held-out images, or the one folder of all."""
    folders = _folders(path, walk)

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
        walk.notes.append(f"the folder {held[0].name} is used for the held-out images, since there is no folder test.")
    for folder in (p for p in (test, validation, *others) if p is not None and p not in held[:1]):
        why = "the folder test holds the held-out images" if folder in held else "it has no class folders"
        walk.left_out.append(f"folder {folder.name}: {why if folder not in others else 'it is not train, test or val'}")
    return parts


def _holds_classes(folder: Path, walk: _Walk) -> bool:
    """Whether a folder holds folders of images, and no images itself."""
    return bool(_folders(folder, walk)) and not any(
        p.suffix.lower() in IMAGES and p.is_file() for p in _entries(folder, walk)
    )


def _entries(folder: Path, walk: _Walk) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {error.strerror}.", remedy="change its permissions.") from error


def _folders(folder: Path, walk: _Walk) -> list[Path]:
    # Hidden folders (.ipynb_checkpoints) and what archives leave behind (__MACOSX) are not classes.
    found = [p for p in _entries(folder, walk) if not p.name.startswith((".", "__")) and p.is_dir()]
    for link in (p for p in found if not _inside(p, walk)):
        raise DatasetError(
            f"{link} is a link to a folder outside {walk.root}, which is not followed.", remedy="copy it there."
        )
    return found


def _inside(path: Path, walk: _Walk) -> bool:
    return not path.is_symlink() or path.resolve().is_relative_to(walk.root)


def _files(folder: Path, names: list[str], walk: _Walk) -> list[tuple[Path, int]]:
    """Images and the index of their class."""
    beside = sum(p.suffix.lower() in IMAGES and not p.is_dir() for p in _entries(folder, walk))
    if beside:
        walk.left_out.append(f"{beside} image{'s' if beside > 1 else ''} beside the class folders in {folder.name}")
    found, lacking = [], []
    for index, name in enumerate(names):
        if not (folder / name).is_dir():
            continue
        before = (walk.skipped.copy(), len(walk.folders))
        mine = [(file, index) for file in _images(folder / name, walk)]
        if not mine:
            lacking.append((name, walk.skipped - before[0], walk.folders[before[1] :]))
        found += mine
    if not found and not any(inner for _, _, inner in lacking):
        kinds = ", ".join(sorted(IMAGES))
        raise DatasetError(f"{folder} holds no images ({kinds}){_only(walk.skipped)}.", remedy="check the folder.")
    for name, skipped, inner in lacking:
        where = f": its images may be in the sub-folder{'s' if len(inner) > 1 else ''} {shown(inner)}" if inner else ""
        raise DatasetError(
            f"{folder / name} holds no images for the class {name!r}{where or _only(skipped)}.",
            remedy=_moving(folder, name, inner, names) if inner else "add images, or remove the folder.",
        )
    return found


def _moving(folder: Path, name: str, inner: list[str], names: list[str]) -> str:
    """What to do with images in sub-folders of a class folder: alone, it may hold the classes itself."""
    if len(names) == 1 and len(inner) > 1:
        return f"give the folder {folder / name} when its sub-folders are the classes."
    return "move the images into the class folder itself."


def _images(folder: Path, walk: _Walk) -> Iterator[Path]:
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
            elif entry.suffix.lower() in IMAGES:
                yield entry
            else:
                walk.skipped[entry.suffix.lower() or "without ending"] += 1


def _only(skipped: Counter[str]) -> str:
    return f", only {_kinds(skipped)}" if skipped else ""


def _kinds(skipped: Counter[str]) -> str:
    return ", ".join(f"{n} {kind}" for kind, n in sorted(skipped.items()))


def _tell(walk: _Walk) -> None:
    """Name what was left out in the class folders."""
    if walk.skipped:
        count = sum(walk.skipped.values())
        walk.left_out.append(f"{count} file{'s' if count > 1 else ''} that are not images: {_kinds(walk.skipped)}")
    if walk.folders:
        many = "s" if len(walk.folders) > 1 else ""
        walk.left_out.append(f"sub-folder{many} of class folders, which are not read: {shown(walk.folders)}")


def usual_size(pictures: Pictures, files: Sequence[Path]) -> tuple[int, int]:
    """The size that most images have; of several the one that comes first."""
    return Counter(pictures.size(file) for file in files).most_common(1)[0][0]


def stacked(stacks: Mapping[str, Stack], pictures: Pictures) -> dict[str, NDArray[Any]]:
    """The images of each part, all with the same channels.

    Raises:
        DatasetError: The parts have different bit depths.
    """
    channels: Counter[int] = sum((stack.channels for stack in stacks.values()), Counter())
    width = max(channels)
    pictures.widened = sum(count for number, count in channels.items() if number < width)
    found = {key: stack.array(width) for key, stack in stacks.items()}
    if len(kinds := {array.dtype for array in found.values()}) > 1:
        raise DatasetError(
            f"The images have different bit depths: {', '.join(sorted(map(str, kinds)))}.",
            remedy="save all of them with the same number of bits per channel.",
        )
    return found

"""Folders of images by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.data.kinds import PICTURES
from deploykit.data.reading import Found, OnRead, Origin
from deploykit.data.sources._class_folders import Walk, classes_of, files_of, known, parts_of, tell
from deploykit.data.sources._paths import present
from deploykit.data.sources._picture import Pictures
from deploykit.data.sources._stack import Stack

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
    walk = Walk(path.resolve(), PICTURES, "image")
    parts = parts_of(path, walk)
    names = classes_of(parts["x"], classes, walk)
    found: dict[str, Any] = {"classes": names}
    pictures, stacks = Pictures(), dict[str, Stack]()
    for key, folder in parts.items():
        known(folder, names, walk)
        files = files_of(folder, names, walk)
        size = size or usual_size(pictures, [file for file, _ in files])
        stacks[key] = stack = Stack()
        for file, _ in files:
            stack.add(pictures.read(file, size))
            if progress is not None:
                progress(len(stack), len(files), f"images of {folder.name}")
        found[key.replace("x", "y")] = np.array([i for _, i in files], np.int64)
    found |= stacked(stacks, pictures)
    tell(walk)
    of = {"input": f"images of the class folders in {parts['x'].name or path}"}
    notes = (*walk.notes, *pictures.notes(size))
    return Found(found, Origin(str(path), "images", of, "names of the folders", tuple(walk.left_out), notes))


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

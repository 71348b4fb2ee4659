"""Examples as PNG files, for the browser."""

from __future__ import annotations

import io
from dataclasses import dataclass

from deploykit.data.dataset import Dataset
from deploykit_widgets.evidence import samples

#: Longest side of a thumbnail and of an enlarged picture, in pixels.
THUMBNAIL, LARGE = 128, 512


@dataclass(frozen=True)
class Picture:
    """A PNG file.

    Attributes:
        data: Its bytes.
        width: Width of the example itself, in pixels.
        height: Height of the example itself, in pixels.
    """

    data: bytes
    width: int
    height: int


def png(data: Dataset, index: int, split: str = "evaluation", longest: int = THUMBNAIL) -> Picture | None:
    """An example as PNG, scaled down if it is too large; None if it is not an image.

    Args:
        data: The data.
        index: Index of the example.
        split: Its split.
        longest: Maximum length of the longer side, in pixels.
    """
    found = samples.picture_of(data, index, split)
    if found is None:
        return None
    from PIL import Image

    pixels = found[:, :, 0] if found.ndim == 3 and found.shape[2] == 1 else found
    image = Image.fromarray(pixels)
    height, width = pixels.shape[:2]
    if max(height, width) > longest:
        image.thumbnail((longest, longest))
    file = io.BytesIO()
    image.save(file, "PNG")
    return Picture(file.getvalue(), width, height)

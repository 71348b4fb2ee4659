"""Examples as PNG files, for the browser."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deploykit.data.dataset import Dataset
from deploykit.reporting.evidence import samples
from deploykit.reporting.evidence.flips import FlippedBox

#: Longest side of a thumbnail and of an enlarged picture, in pixels.
THUMBNAIL, LARGE = 128, 512
#: States of a detector's boxes and their colors, what is drawn first first.
COLORS = {"kept": "#9aa5b1", "missed": "#f2c14e", "gained": "#2ca02c", "new": "#ff7f0e", "lost": "#e0284f"}


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


def png(
    data: Dataset, index: int, split: str = "evaluation", longest: int = THUMBNAIL, boxes: Sequence[FlippedBox] = ()
) -> Picture | None:
    """An example as PNG, scaled down if it is too large; None if it is not an image.

    Args:
        data: The data.
        index: Index of the example.
        split: Its split.
        longest: Maximum length of the longer side, in pixels.
        boxes: What a detector loses and finds: drawn into the picture, which is enlarged for it where it is small.
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
    if boxes:
        image = _drawn(image, boxes, longest)
    file = io.BytesIO()
    image.save(file, "PNG")
    return Picture(file.getvalue(), width, height)


def _drawn(image: Any, boxes: Sequence[FlippedBox], longest: int) -> Any:
    """The picture with its boxes: what is lost and what is new lies on top."""
    from PIL import Image, ImageDraw

    if image.mode != "RGB":
        image = (image.point(lambda v: v / 257) if image.mode.startswith("I") else image).convert("RGB")
    factor = longest // max(image.size)
    if factor > 1:
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(image)
    width = max(1, round(max(image.size) / 100))
    for state, color in COLORS.items():
        for box in (b for b in boxes if b.state == state):
            left, top, right, bottom = box.corners
            corners = (left * image.width, top * image.height, right * image.width - 1, bottom * image.height - 1)
            if corners[2] > corners[0] and corners[3] > corners[1]:
                pen.rectangle(corners, outline=color, width=width)
    return image

"""The one filter with which images are scaled, wherever they come from, and how they are made to fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from deploykit.core.errors import DatasetError
from deploykit.core.extras import require
from deploykit.data.axes import channel_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: How images of another shape are made to fit: between gray bars, or with both sides scaled.
Fit = Literal["letterbox", "stretch"]
FITS: tuple[Fit, ...] = ("letterbox", "stretch")
#: Gray of the bars of a letterbox, as YOLO's tools have it.
GRAY = 114
#: Its name, for people.
FILTER = "bilinear, antialiased"


class Place(NamedTuple):
    """Where a picture lies in the image that is made of it, pixels.

    Attributes:
        left: First column.
        top: First row.
        width: Columns.
        height: Rows.
    """

    left: int
    top: int
    width: int
    height: int


def placed(given: tuple[int, int], size: tuple[int, int], fit: str) -> Place:
    """Where a picture lies in an image that it is fitted into.

    Args:
        given: (height, width) of the picture.
        size: (height, width) of the image.
        fit: One of `FITS`.
    """
    height, width = size
    if fit == "stretch" or given == size:
        return Place(0, 0, width, height)
    scale = min(height / given[0], width / given[1])
    inner_height, inner_width = (max(1, round(side * scale)) for side in given)
    return Place((width - inner_width) // 2, (height - inner_height) // 2, inner_width, inner_height)


def resized(batch: NDArray[Any], size: tuple[int, int], fit: str = "stretch") -> NDArray[Any]:
    """Images scaled by Pillow's BILINEAR: bilinear, and antialiased where they shrink.

    Args:
        batch: Images, shape (batch, height, width, channel); channels that can only be the first axis stay there.
        size: (height, width).
        fit: ``"stretch"`` scales both sides; ``"letterbox"`` keeps the shape of the picture, in the middle between
            gray bars (114 of 255).

    Returns:
        The images, in the dtype of the batch; whole numbers are rounded. 8-bit images are exactly what
        ``Image.resize(size, Image.Resampling.BILINEAR)`` gives.

    Raises:
        DatasetError: The examples are not images of numbers with their channels last, or need gray bars and are not
            of whole numbers from 0 on.
    """
    import numpy as np

    if batch.ndim != 4 or batch.dtype.kind not in "fiu":
        raise DatasetError(
            f"resize needs images of shape (height, width, channel), got examples of shape {batch.shape[1:]} and dtype "
            f"{batch.dtype}.",
            remedy="add reshape= so that examples are images.",
        )
    if channel_order(batch.shape[1:]) == "channels_first":
        return np.ascontiguousarray(np.moveaxis(resized(np.moveaxis(batch, 1, -1), size, fit), -1, 1))
    if batch.shape[1:3] == size:
        return batch
    place = placed((batch.shape[1], batch.shape[2]), size, fit)
    if (place.height, place.width) != size:
        if batch.dtype not in (np.uint8, np.uint16):
            raise DatasetError(
                f"Bars of a letterbox are gray, and examples of dtype {batch.dtype} do not say what gray is.",
                remedy="give pixels as uint8 (or uint16), or images that fit already.",
            )
        level = GRAY * np.iinfo(batch.dtype).max // 255
        canvas = np.full((len(batch), *size, batch.shape[3]), level, batch.dtype)
        rows, columns = slice(place.top, place.top + place.height), slice(place.left, place.left + place.width)
        canvas[:, rows, columns] = resized(batch, (place.height, place.width))
        return canvas
    image_module = require("PIL.Image", "")
    height, width = size
    out = np.empty((len(batch), height, width, batch.shape[3]), batch.dtype)
    inner = np.uint8 if batch.dtype == np.uint8 else np.float32  # the two kinds of numbers that Pillow scales
    limits = None if batch.dtype.kind == "f" else np.iinfo(batch.dtype)
    for i, picture in enumerate(batch):
        for channel in range(batch.shape[3]):
            plane = image_module.fromarray(np.ascontiguousarray(picture[..., channel], inner))
            scaled = np.asarray(plane.resize((width, height), image_module.Resampling.BILINEAR))
            if limits is not None and inner is np.float32:
                scaled = np.clip(np.rint(scaled.astype(np.float64)), limits.min, limits.max)
            out[i, ..., channel] = scaled
    return out

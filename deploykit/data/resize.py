"""The one filter with which images are scaled, wherever they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.core.extras import require
from deploykit.data.axes import channel_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: How images of another shape are made to fit where boxes lie in them.
FITS = ("letterbox", "stretch")
#: Its name, for people.
FILTER = "bilinear, antialiased"


def resized(batch: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Images scaled by Pillow's BILINEAR: bilinear, and antialiased where they shrink.

    Args:
        batch: Images, shape (batch, height, width, channel); channels that can only be the first axis stay there.
        size: (height, width).

    Returns:
        The images, in the dtype of the batch; whole numbers are rounded. 8-bit images are exactly what
        ``Image.resize(size, Image.Resampling.BILINEAR)`` gives.

    Raises:
        DatasetError: The examples are not images of numbers with their channels last.
    """
    import numpy as np

    if batch.ndim != 4 or batch.dtype.kind not in "fiu":
        raise DatasetError(
            f"resize needs images of shape (height, width, channel), got examples of shape {batch.shape[1:]} and dtype "
            f"{batch.dtype}.",
            remedy="add reshape= so that examples are images.",
        )
    if channel_order(batch.shape[1:]) == "channels_first":
        return np.ascontiguousarray(np.moveaxis(resized(np.moveaxis(batch, 1, -1), size), -1, 1))
    if batch.shape[1:3] == size:
        return batch
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

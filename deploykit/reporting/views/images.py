"""Arrays as images."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Colors of what speaks for an answer, and against it: told apart with the common color deficiencies.
FOR, AGAINST = (21, 94, 191), (201, 77, 8)
#: Contrast that is left of an image under a map, and how bright it is.
_CONTRAST = 0.55


def as_picture(raw: NDArray[Any]) -> NDArray[Any] | None:
    """An array as image bytes if it has the shape of an image: one, three or four channels, last or first."""
    import numpy as np

    if raw.dtype.kind not in "fiub" or raw.ndim not in (2, 3) or min(raw.shape) < 1:
        return None
    if raw.ndim == 3 and raw.shape[-1] not in (1, 3, 4):
        if raw.shape[0] not in (1, 3, 4):
            return None
        raw = np.moveaxis(raw, 0, -1)
    if min(raw.shape[:2]) < 4:
        return None
    if raw.dtype == np.uint8:
        return np.ascontiguousarray(raw)
    values = np.nan_to_num(raw.astype(np.float64))
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
    return np.ascontiguousarray(scaled.astype(np.uint8))


def overlaid(picture: NDArray[Any] | None, values: NDArray[Any], largest: float) -> NDArray[Any]:
    """A map over a faded image: blue speaks for the answer, orange against it.

    Args:
        picture: As `as_picture` gives it, of the size of the map; None for a plain ground.
        values: The map, shape (height, width).
        largest: Absolute value with the full color.

    Returns:
        Bytes, shape (height, width, 3).
    """
    import numpy as np

    ground = np.full((*values.shape, 3), 255.0)
    if picture is not None and picture.shape[:2] == values.shape:
        gray = picture.astype(np.float64)
        gray = gray if gray.ndim == 2 else gray[..., :3].mean(axis=-1)
        ground = np.repeat((255 - _CONTRAST * (255 - gray))[..., None], 3, axis=-1)
    share = np.clip(np.abs(values) / largest if largest > 0 else np.zeros_like(values), 0, 1)[..., None]
    color = np.where((values >= 0)[..., None], np.array(FOR, float), np.array(AGAINST, float))
    found: NDArray[Any] = np.rint(ground * (1 - 0.85 * share) + color * 0.85 * share).astype(np.uint8)
    return found


def address(picture: NDArray[Any]) -> str:
    """An image as a ``data:`` address; see `png`."""
    return f"data:image/png;base64,{base64.b64encode(png(picture)).decode()}"


def png(picture: NDArray[Any], longest: int = 256) -> bytes:
    """An image as PNG, small ones enlarged so that their pixels stay square."""
    from PIL import Image

    pixels = picture[:, :, 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture
    image = Image.fromarray(pixels)
    times = longest // max(image.size)
    if times > 1:
        image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    elif max(image.size) > longest:
        image.thumbnail((longest, longest))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()

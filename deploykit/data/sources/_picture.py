"""One image file as numbers."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.core.extras import require
from deploykit.data.resize import FILTER, resized

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Number in EXIF data of how the camera was held, and the ways that exchange height and width.
_ORIENTATION, _SIDEWAYS = 0x0112, (5, 6, 7, 8)
_WHITE = 255
#: Pillow's names of the formats that image folders hold: its others are never opened.
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM")
_NAMES = ", ".join(_FORMATS)
#: What Pillow raises beside errors that say something, for files that are damaged on purpose.
_ODD = (KeyError, IndexError, TypeError, AttributeError, ArithmeticError, struct.error, zlib.error, MemoryError)


class Pictures:
    """Reads images and counts what it did to them.

    8 bits a channel give uint8, 16-bit gray images uint16, 32 bits (TIFF) int32, real numbers (TIFF) float32. Palettes,
    CMYK and other color spaces become RGB; what is transparent is laid on white; images are turned as their EXIF
    orientation says.
    """

    def __init__(self) -> None:
        self.read_count = self.scaled = self.turned = self.transparent = self.narrowed = self.frames = self.widened = 0

    def size(self, file: Path) -> tuple[int, int]:
        """(height, width) of an image as it will be read."""
        with opened(file) as picture:
            return _size_of(picture)

    def read(self, file: Path, size: tuple[int, int] | None) -> NDArray[Any]:
        """An image of (height, width, channel), scaled when it has another size than ``size``, if that is given.

        Raises:
            DatasetError: It is not a readable image; names it.
        """
        with opened(file) as picture:
            pixels = self.pixels(picture)
        self.read_count += 1
        if size is not None and pixels.shape[:2] != size:
            self.scaled += 1
            pixels = resized(pixels[None], size)[0]
        return pixels

    def pixels(self, picture: Any) -> NDArray[Any]:
        """What an opened image holds: (height, width, channel)."""
        import numpy as np

        self.frames += getattr(picture, "n_frames", 1) > 1
        self.narrowed += _is_narrowed(picture)
        wide = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PNG")
        if picture.getexif().get(_ORIENTATION, 1) != 1:
            picture = require("PIL.ImageOps", "").exif_transpose(picture)
            self.turned += 1
        return self._pixels(picture, np.uint16 if wide else np.int32)

    def stack(self, found: dict[str, Any]) -> None:
        """Make one array of the lists of images ``x`` and ``x_test``, all with the same channels.

        Raises:
            DatasetError: They have different bit depths.
        """
        import numpy as np

        parts = [key for key in ("x", "x_test") if key in found]
        everything: list[NDArray[Any]] = [image for key in parts for image in found[key]]
        kinds = {image.dtype for image in everything}
        if len(kinds) > 1:
            raise DatasetError(
                f"The images have different bit depths: {', '.join(sorted(map(str, kinds)))}.",
                remedy="save all of them with the same number of bits per channel.",
            )
        channels = max(image.shape[2] for image in everything)
        self.widened = sum(image.shape[2] < channels for image in everything)
        for key in parts:
            found[key] = np.stack([np.broadcast_to(i, (*i.shape[:2], channels)) for i in found[key]])

    def notes(self, size: tuple[int, int] | None) -> Iterator[str]:
        """Sentences on what was done."""
        if self.scaled and size is not None:
            yield (
                f"{self.scaled:,} of {self.read_count:,} images have a different size and were scaled to "
                f"{size[0]} x {size[1]} ({FILTER})."
            )
        for count, what in (
            (self.turned, "rotated by their EXIF orientation"),
            (self.transparent, "composited onto white, because parts of them are transparent"),
            (self.narrowed, "read with 8 of their 16 bits per channel, as Pillow reads color images"),
            (self.widened, "gray among color images, and got three equal channels"),
            (self.frames, "animated or have several pages; only the first was read"),
        ):
            if count:
                yield f"{count:,} of {self.read_count:,} images {'was' if count == 1 else 'were'} {what}."

    def _pixels(self, picture: Any, whole: type[np.generic]) -> NDArray[Any]:
        import numpy as np

        mode = picture.mode
        if mode.startswith("I"):  # 16 bits, which older Pillow opens as 32, or really 32 (TIFF)
            return np.asarray(picture).astype(whole)[..., None]
        if mode == "F":
            return np.asarray(picture, np.float32)[..., None]
        gray = mode in {"1", "L", "LA", "La"}
        if mode in {"LA", "La", "RGBA", "RGBa", "PA"} or "transparency" in picture.info:
            pixels = np.asarray(picture.convert("RGBA"))
            pixels = self._on_white(pixels)
            return pixels[..., :1] if gray else pixels
        pixels = np.asarray(picture.convert("L" if gray else "RGB"), np.uint8)
        return pixels[..., None] if pixels.ndim == 2 else pixels

    def _on_white(self, pixels: NDArray[Any]) -> NDArray[Any]:
        import numpy as np

        alpha = pixels[..., 3:].astype(np.float32) / _WHITE
        color = pixels[..., :3]
        if (pixels[..., 3] == _WHITE).all():
            return color
        self.transparent += 1
        return np.rint(color * alpha + _WHITE * (1 - alpha)).astype(np.uint8)


def decoded(data: bytes, check: Callable[[int, int], None]) -> NDArray[Any]:
    """An image of (height, width, channel) from the bytes of a file, as folders of images are read.

    Args:
        data: The file.
        check: Called with height and width before any pixel is read; what it raises is raised.

    Raises:
        DatasetError: It is not a readable image.
    """
    with opened(io.BytesIO(data)) as picture:
        check(*_size_of(picture))
        return Pictures().pixels(picture)


def _size_of(picture: Any) -> tuple[int, int]:
    """(height, width) of an opened image as it will be read."""
    sideways = picture.getexif().get(_ORIENTATION) in _SIDEWAYS
    return (picture.width, picture.height) if sideways else (picture.height, picture.width)


def _is_narrowed(picture: Any) -> bool:
    """Whether Pillow will drop half of the bits: color images of 16 bits a channel."""
    if picture.mode.startswith(("I", "F")) or not getattr(picture, "tile", None):
        return False
    raw = picture.tile[0][3]
    raw = raw[0] if isinstance(raw, tuple) and raw else raw
    return isinstance(raw, str) and ";16" in raw


@contextmanager
def opened(file: Path | io.BytesIO) -> Iterator[Any]:
    """An image file as Pillow opens it; what goes wrong with it is a `DatasetError` that names it."""
    image_module = require("PIL.Image", "")
    received = isinstance(file, io.BytesIO)
    try:
        with image_module.open(file, formats=_FORMATS if received else None) as picture:
            yield picture
    except (OSError, ValueError, SyntaxError, EOFError, image_module.DecompressionBombError, *_ODD) as error:
        unknown = received and isinstance(error, image_module.UnidentifiedImageError)
        why = "it is empty" if not _size(file) else f"expected {_NAMES}" if unknown else str(error)
        name = "The file" if received else file
        raise DatasetError(f"{name} is not a readable image: {why}.", remedy="remove or replace it.") from error


def _size(file: Path | io.BytesIO) -> int:
    if isinstance(file, io.BytesIO):
        return file.getbuffer().nbytes
    try:
        return file.stat().st_size
    except OSError:
        return 1

"""Images of one size, one after the other, as an array that is on the disk when it is large."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.core.mapped import BLOCK_BYTES, Growing, blocks, stowed

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Stack:
    """Collects images of (height, width, channel); gray ones among others get as many channels as these."""

    def __init__(self) -> None:
        self._grown = Growing()
        self._waiting: list[NDArray[Any]] = []
        self._bytes = 0
        self._dtypes: set[Any] = set()
        #: Channels → images that have as many.
        self.channels: Counter[int] = Counter()
        self._width = 0

    def __len__(self) -> int:
        return len(self._grown) + len(self._waiting)

    def add(self, image: NDArray[Any]) -> None:
        """Take an image.

        Raises:
            DatasetError: It has another bit depth than those before.
        """
        self._dtypes.add(image.dtype)
        if len(self._dtypes) > 1:
            raise DatasetError(
                f"The images have different bit depths: {', '.join(sorted(map(str, self._dtypes)))}.",
                remedy="save all of them with the same number of bits per channel.",
            )
        self.channels[image.shape[2]] += 1
        self._waiting.append(image)
        self._bytes += image.nbytes
        if self._bytes >= BLOCK_BYTES:
            self._flush()

    def _flush(self) -> None:
        import numpy as np

        width = max(self.channels)
        if width > self._width and len(self._grown):
            before, self._grown = self._grown.array(), Growing()
            for _, block in blocks(before):
                self._grown.append(_wide(block, width))
        self._width = width
        if self._waiting:
            self._grown.append(np.stack([_wide(image, width) for image in self._waiting]))
        self._waiting, self._bytes = [], 0

    def array(self, channels: int = 0) -> NDArray[Any]:
        """All images, with at least so many channels."""
        self._flush()
        found = self._grown.array()
        if channels <= found.shape[-1]:
            return found
        return stowed(_wide(block, channels) for _, block in blocks(found))


def _wide(images: NDArray[Any], channels: int) -> NDArray[Any]:
    import numpy as np

    return np.ascontiguousarray(np.broadcast_to(images, (*images.shape[:-1], channels)))

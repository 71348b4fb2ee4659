"""Encoded images as raw examples, read exactly as folders of images are when a model is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Manifest
from deploykit.artifacts.wire import objects
from deploykit.core.errors import DatasetError
from deploykit.core.model import TensorSpec
from deploykit.data.preprocess import Preprocess
from deploykit.data.resize import resized
from deploykit.data.sources._picture import decoded
from deploykit.serving.faults import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Most pixels of one request: 200 MB in three colors.
MOST_PIXELS = 1 << 26
_BYTE = 255
#: Channels of the images that are read: gray, or three colors.
_CHANNELS = (1, 3)


class Images:
    """Which inputs take images, and how.

    Args:
        manifest: Holds the preprocessing of raw examples.
        golden: Raw examples by input name: real numbers are taken for bytes of images only if these are.

    Attributes:
        names: Inputs of numbers that take images.
    """

    def __init__(self, manifest: Manifest, golden: Mapping[str, NDArray[Any]]) -> None:
        self._steps = manifest.preprocess
        self._given = {i.name: i.given for i in manifest.contract.inputs if not i.raw}
        self._bytes = {name for name, array in golden.items() if _holds_bytes(array)}
        self.names = frozenset(s.name for s in manifest.inputs if s.dtype != "string" and not self._refusal(s))

    def read(self, spec: TensorSpec, files: Sequence[bytes]) -> NDArray[Any]:
        """Raw examples, one for each file; an input of text gets the files as they are.

        Raises:
            InvalidInputError: The input does not take images, a file is not one, or it has the wrong size or colors.
        """
        import numpy as np

        if reason := self._refusal(spec):
            raise InvalidInputError(f"Input {spec.name!r} does not take images: {reason}")
        if spec.dtype == "string":
            return objects(files).reshape(len(files), *(1,) * (len(spec.shape or (None,)) - 1))
        step = self._steps.get(spec.name, Preprocess())
        dims = _dims(spec, step)
        pixels = _Pixels(spec, dims)
        images = [pixels.read(file) for file in files]
        if len({image.shape for image in images}) > 1 and step.resize is not None:
            images = [resized(image[None], step.resize, step.fit)[0] for image in images]
        if len({image.shape for image in images}) > 1:
            sizes = sorted({f"{i.shape[1]} × {i.shape[0]}" for i in images})
            raise InvalidInputError(
                f"Input {spec.name!r}: expected images of one size in a request, got {', '.join(sizes)}; send them one "
                "by one, or export with dk.Preprocess(resize=…)."
            )
        batch = np.stack(images)
        if len(dims) == 2:
            batch = batch[..., 0]
        elif _channel_axis(dims) == 0:
            batch = np.moveaxis(batch, -1, 1)
        if spec.shape is not None and len(spec.shape) == 2:
            batch = batch.reshape(len(batch), -1)
        return np.ascontiguousarray(batch.astype(spec.dtype, copy=False))

    def _refusal(self, spec: TensorSpec) -> str:
        """Why an input does not take images, "" if it does."""
        if spec.dtype == "string":
            rank = len(spec.shape) if spec.shape is not None else 1
            return "" if rank == 1 or (rank == 2 and (spec.shape or ())[1] in (1, None)) else (
                f"it takes {rank - 1} dimensions of text per example. Send JSON."
            )  # fmt: skip
        if not _dims(spec, self._steps.get(spec.name, Preprocess())):
            return (
                f"its examples have shape {spec.shape[1:] if spec.shape else 'unknown'}, which is not (height, width) "
                "or (height, width, channel). Send numbers, or sweep with images as they are and a dk.Preprocess."
            )
        if spec.dtype != "uint8" and spec.name not in self._bytes and self._given.get(spec.name) != "uint8":
            return (
                f"its raw examples are {spec.dtype} and not the bytes 0 to {_BYTE}, and the manifest does not say "
                "how bytes become those. Send numbers, or sweep with raw images and dk.Preprocess(scale=1 / 255)."
            )
        return ""


class _Pixels:
    """Reads the images of one request for one input."""

    def __init__(self, spec: TensorSpec, dims: tuple[int | None, ...]) -> None:
        self._name = spec.name
        axis = None if len(dims) == 2 else _channel_axis(dims)
        self._channels = 1 if axis is None else dims[axis]
        self._size = (dims[1], dims[2]) if axis == 0 else (dims[0], dims[1])
        self._left = MOST_PIXELS

    def read(self, file: bytes) -> NDArray[Any]:
        """(height, width, channel), with as many channels as the input has."""
        import numpy as np

        try:
            found = decoded(file, self._check_size)
        except DatasetError as error:
            raise InvalidInputError(f"Input {self._name!r}: {error.message}") from error
        if found.dtype != np.uint8:
            raise InvalidInputError(
                f"Input {self._name!r}: expected 8 bits per channel, got an image of {found.dtype}; convert it."
            )
        given, wanted = found.shape[2], self._channels
        if given == wanted:
            return found
        if given == 1 and wanted == 3:  # as in a folder of color images
            return np.broadcast_to(found, (*found.shape[:2], 3))
        if given == 3 and wanted == 1:
            gray = found[..., :1]
            if (found == gray).all():
                return gray
            raise InvalidInputError(
                f"Input {self._name!r}: the model takes gray images, and this one has colors; convert it to gray."
            )
        raise InvalidInputError(f"Input {self._name!r}: expected {wanted} channels, got an image with {given}.")

    def _check_size(self, height: int, width: int) -> None:
        """Refuse an image before its pixels are read."""
        if any(want not in (None, got) for want, got in zip(self._size, (height, width), strict=True)):
            sizes = " × ".join("any" if d is None else str(d) for d in reversed(self._size))
            raise InvalidInputError(
                f"Input {self._name!r}: expected an image of {sizes} pixels, got {width} × {height}; scale it, or "
                "export with dk.Preprocess(resize=…), which lets the server do it."
            )
        self._left -= height * width
        if self._left < 0:
            raise InvalidInputError(
                f"Input {self._name!r}: expected at most {MOST_PIXELS:,} pixels in a request, got more; send fewer or "
                "smaller images."
            )


def _dims(spec: TensorSpec, step: Preprocess) -> tuple[int | None, ...]:
    """Shape of one image as the input takes it, () if that is not the shape of an image."""
    if spec.shape is None:
        return ()
    dims = spec.shape[1:]
    if len(dims) == 1 and step.reshape is not None and len(step.reshape) in (2, 3):  # pixels in a row
        dims = step.reshape
    if len(dims) == 2:
        return dims
    return dims if len(dims) == 3 and _channel_axis(dims) is not None else ()


def _channel_axis(dims: tuple[int | None, ...]) -> int | None:
    """The axis of one channel or three, None if neither end is that, or both could be."""
    first, last = dims[0] in _CHANNELS, dims[-1] in _CHANNELS
    return None if first == last else 0 if first else -1


def _holds_bytes(array: NDArray[Any]) -> bool:
    """Whether numbers look like the bytes of images: whole, and not all in the range of truth values."""
    import numpy as np

    if array.dtype.kind not in "fiu" or not array.size:
        return False
    return bool(array.min() >= 0 and 1 < array.max() <= _BYTE and (np.trunc(array) == array).all())

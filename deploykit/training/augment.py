"""Images and waveforms that are changed at random at each step, so that a model never sees the same one twice.

The original answers the changed images, and is what the model is compared with: nothing has to be known of what a
change does to a label. Source: Beyer et al. 2022, "Knowledge distillation: a good teacher is patient and consistent",
https://arxiv.org/abs/2106.05237
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.data.batch import Batch, Mixing
from deploykit.data.dataset import Dataset
from deploykit.training import waves
from deploykit.training.choices import WAVES
from deploykit.training.schedule import Schedule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Smallest share of an image's area that a crop has, and the largest ratio of its sides relative to the image's.
_SMALLEST, _STRETCHED = 0.25, 4 / 3
_CHANNELS = (1, 3, 4)


def channel_axis(shape: Sequence[int | None] | None) -> int | None:
    """Axis of the channels of a batch of images; None when a shape is not that of images.

    Args:
        shape: With the batch first.
    """
    if shape is None or len(shape) != 4:
        return None
    return 3 if shape[3] in _CHANNELS else 1 if shape[1] in _CHANNELS else None


def not_images(name: str, what: str) -> str:
    """Why images cannot be changed, without a full stop.

    Args:
        name: The input that takes no images.
        what: What it takes.
    """
    return (
        f"augment changes images of 1, 3 or 4 channels, and the input {name!r} takes {what}: leave out augment for "
        "this model"
    )


class Batches:
    """Gives the examples of a schedule as models are fed them.

    Calls of `changed` draw from one stream of random numbers: the same seed and the same calls give the same images.

    Args:
        data: The data; only the training split is read.
        schedule: What is trained, and how its inputs are changed.

    Raises:
        UnsupportedModelError: Inputs are to be changed that are not images, or not waveforms.
    """

    def __init__(self, data: Dataset, schedule: Schedule) -> None:
        import numpy as np

        self._data, self._seen = data, frozenset(schedule.augment.split("+") if schedule.changes else ())
        self._snr_db = schedule.noise_snr
        self._rng = np.random.default_rng([schedule.seed, 1])  # apart from that of the order
        self._axes = self._found(schedule.examples[:1]) if self._seen else {}

    def _found(self, index: NDArray[np.int64]) -> dict[str, int]:
        """Axis of the channels of each input, or that of the samples of waveforms."""
        found = {}
        axis_of, words = (waves.time_axis, waves.not_waves) if self._seen & {*WAVES} else (channel_axis, not_images)
        for name, array in self.plain(index).inputs.items():
            axis = axis_of(array.shape) if array.dtype.kind in "fiu" else None
            if axis is None:
                raise UnsupportedModelError(f"{words(name, f'{array.dtype} of shape {array.shape[1:]}')}.")
            found[name] = axis
        return found

    def plain(self, index: NDArray[np.int64]) -> Batch:
        """Examples as they are.

        Args:
            index: Their places in the training split.
        """
        return Batch(index, self._data.batch("train", index))

    def changed(self, index: NDArray[np.int64]) -> Batch:
        """Examples to train on: changed, if the schedule says so.

        Args:
            index: Their places in the training split.
        """
        import numpy as np

        batch = self.plain(index)
        if not self._seen:
            return batch
        count, mixing = len(index), None
        inputs = {name: array.astype(np.float32) for name, array in batch.inputs.items()}
        if "flip" in self._seen:
            flips = self._rng.random(count) < 0.5
            inputs = {name: flipped(array, flips, self._axes[name]) for name, array in inputs.items()}
        if "crops" in self._seen:
            boxes = crop_boxes(self._rng, count)
            inputs = {name: cropped(array, boxes, self._axes[name]) for name, array in inputs.items()}
        if "mixup" in self._seen:
            mixing = Mixing(self._rng.permutation(count), self._rng.random(count, np.float32))
            inputs = {name: mixed(array, mixing) for name, array in inputs.items()}
        if self._seen & {*WAVES}:
            inputs = self._waves(inputs)
        return Batch(index, _as_before(inputs, batch.inputs), changed=True, mixing=mixing)

    def _waves(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Waveforms moved, louder or quieter, and with noise; all inputs of an example in the same way."""
        import numpy as np

        count = len(next(iter(inputs.values())))
        found = dict(inputs)
        if "shift" in self._seen:
            shortest = min(array.shape[self._axes[name]] for name, array in inputs.items())
            by = waves.moves(self._rng, count, shortest)
            found = {name: waves.shifted(array, by, self._axes[name]) for name, array in found.items()}
        if "gain" in self._seen:
            factors = waves.gains(self._rng, count)
            found = {name: waves.scaled(array, factors) for name, array in found.items()}
        if "noise" in self._seen:
            noise = {name: self._rng.standard_normal(array.shape, np.float32) for name, array in found.items()}
            found = {name: waves.noisy(array, noise[name], self._snr_db) for name, array in found.items()}
        return found


def flipped(images: NDArray[Any], which: NDArray[np.bool_], axis: int) -> NDArray[Any]:
    """Some images as in a mirror, left and right exchanged.

    Args:
        images: The images, batch first.
        which: Which of them.
        axis: Axis of the channels.
    """
    import numpy as np

    mirrored = np.flip(images, 2 if axis == 3 else 3)
    found: NDArray[Any] = np.where(which[:, None, None, None], mirrored, images)
    return found


def crop_boxes(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Random boxes of shape (count, 4): top, left, bottom, right, as shares of the image's height and width.

    Areas are uniform between a quarter of the image and all of it; the ratio of the sides is at most 4 to 3 (Szegedy et
    al. 2015, https://arxiv.org/abs/1409.4842, section 6).

    Args:
        rng: Where chance comes from.
        count: Number of boxes.
    """
    import numpy as np

    area = rng.uniform(_SMALLEST, 1.0, count)
    ratio = np.exp(rng.uniform(-np.log(_STRETCHED), np.log(_STRETCHED), count))
    sides = np.minimum(np.sqrt(np.stack([area * ratio, area / ratio], 1)), 1.0)
    first = rng.random((count, 2)) * (1.0 - sides)
    return np.concatenate([first, first + sides], 1).astype(np.float32)


def cropped(images: NDArray[Any], boxes: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """A part of each image in the size of the whole, interpolated linearly in both directions.

    Args:
        images: The images, batch first.
        boxes: The parts, see `crop_boxes`; 0 and 1 are the centers of the first and the last pixels.
        axis: Axis of the channels.
    """
    import numpy as np

    tf = require("tensorflow", "tensorflow")
    last = np.moveaxis(images, axis, 3)
    found = tf.image.crop_and_resize(last, boxes, np.arange(len(last), dtype=np.int32), last.shape[1:3])
    return np.moveaxis(found.numpy(), 3, axis)


def mixed(images: NDArray[Any], mixing: Mixing) -> NDArray[np.float32]:
    """Each image laid over another one (Zhang et al. 2018, https://arxiv.org/abs/1710.09412); shares are uniform.

    Args:
        images: The images, batch first.
        mixing: With which one, and how much stays.
    """
    import numpy as np

    shares = mixing.shares.reshape(-1, *[1] * (images.ndim - 1))
    found: NDArray[np.float32] = shares * images + (np.float32(1) - shares) * images[mixing.partners]
    return found


def _as_before(inputs: Mapping[str, NDArray[Any]], before: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Inputs in the dtypes that they had."""
    import numpy as np

    found = {}
    for name, array in inputs.items():
        dtype = before[name].dtype
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            array = np.clip(np.rint(array.astype(np.float64)), limits.min, limits.max)
        found[name] = array.astype(dtype, copy=False)
    return found

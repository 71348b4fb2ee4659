"""Images that are changed at random, beside NumPy; both models see the same ones, and a seed repeats them."""

import numpy as np
import pytest

from deploykit.core.errors import UnsupportedModelError
from deploykit.data.batch import Mixing
from deploykit.data.dataset import Dataset
from deploykit.testing import work
from deploykit.training.augment import Batches, channel_axis, crop_boxes, flipped, mixed
from deploykit.training.choices import AUGMENTATIONS
from deploykit.training.schedule import Schedule

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(40, 9, 12, 3)).astype(np.float32)
INDEX = np.array([3, 7, 8, 11, 20, 21])


def changed(images, augment, seed=0, calls=1):
    """What batches give in a child process."""
    result = work.run(
        "training:augment", "tensorflow", images=images.tolist(), dtype=str(images.dtype), augment=augment, seed=seed,
        index=INDEX.tolist(), calls=calls,
    )  # fmt: skip
    return [np.array(call["images"], images.dtype) for call in result["calls"]], result["calls"]


def interpolated(image, box):
    """A part of an image in the size of the whole: rows first, then columns, by ``numpy.interp``."""
    top, left, bottom, right = box
    for axis, (first, last) in enumerate(((top, bottom), (left, right))):
        size = image.shape[axis]
        places = np.linspace(first * (size - 1), last * (size - 1), size)
        image = np.apply_along_axis(lambda line, p=places, s=size: np.interp(p, np.arange(s), line), axis, image)
    return image


def test_flips_exchange_left_and_right():
    which = np.array([True, False, True, True, False, False])
    found = flipped(IMAGES[:6], which, 3)
    assert (found[0] == IMAGES[0, :, ::-1]).all()
    assert (found[1] == IMAGES[1]).all()
    first = np.moveaxis(IMAGES[:6], 3, 1)
    assert (flipped(first, which, 1) == np.moveaxis(found, 3, 1)).all()


def test_mixing_lays_images_over_each_other():
    mixing = Mixing(np.array([1, 0, 2]), np.array([0.25, 1.0, 0.5], np.float32))
    found = mixed(IMAGES[:3], mixing)
    np.testing.assert_allclose(found[0], 0.25 * IMAGES[0] + 0.75 * IMAGES[1], atol=1e-6)
    np.testing.assert_allclose(found[1:], IMAGES[1:3], atol=1e-6)


def test_boxes_are_parts_of_the_image():
    boxes = crop_boxes(np.random.default_rng(1), 4000)
    assert (boxes >= 0).all()
    assert (boxes <= 1 + 1e-6).all()
    height, width = (boxes[:, 2:] - boxes[:, :2]).T
    area, ratio = height * width, height / width
    assert area.min() > 0.21  # a long side that does not fit is cut off
    assert area.max() <= 1
    assert np.abs(np.log(ratio)).max() <= np.log(4 / 3) + 1e-5
    assert 0.55 < area.mean() < 0.65
    assert boxes[:, :2].min() < 0.02
    assert boxes[:, 2:].max() > 0.98


@pytest.mark.parametrize("first", [False, True], ids=["channels_last", "channels_first"])
def test_crops_are_interpolated(first):
    images = np.moveaxis(IMAGES, 3, 1).copy() if first else IMAGES
    (found,), _ = changed(images, "crops")
    boxes = crop_boxes(np.random.default_rng([0, 1]), len(INDEX))
    last = np.moveaxis(found, 1, 3) if first else found
    for place, (index, box) in enumerate(zip(INDEX, boxes, strict=True)):
        np.testing.assert_allclose(last[place], interpolated(IMAGES[index], box), atol=1e-4)


def test_all_changes_are_made_one_after_another():
    """Flipped, cut and mixed as the stream of random numbers says, which is drawn again here."""
    (found,), (call,) = changed(IMAGES, "flip+crops+mixup", seed=5)
    rng = np.random.default_rng([5, 1])
    images = IMAGES[INDEX].copy()
    flips = rng.random(6) < 0.5
    images[flips] = images[flips, :, ::-1]
    images = np.stack([interpolated(*pair) for pair in zip(images, crop_boxes(rng, 6), strict=True)])
    partners, shares = rng.permutation(6), rng.random(6, np.float32)
    assert call["partners"] == partners.tolist()
    np.testing.assert_allclose(call["shares"], shares)
    wanted = [s * images[i] + (1 - s) * images[p] for i, (p, s) in enumerate(zip(partners, shares, strict=True))]
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_a_seed_repeats_the_changes_and_each_call_makes_others():
    one, two, other = (changed(IMAGES, "flip+crops+mixup", seed, calls=2)[0] for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(one, two, strict=True))
    assert (one[0] != one[1]).any()
    assert (one[0] != other[0]).any()


def test_numbers_of_pixels_stay_whole():
    pixels = RNG.integers(0, 256, (40, 9, 12, 1), dtype=np.uint8)
    (found,), _ = changed(pixels, "crops+mixup")
    assert found.dtype == np.uint8
    (real,), _ = changed(pixels.astype(np.float32), "crops+mixup")
    assert np.abs(found - real).max() <= 0.5 + 1e-3


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((None, 28, 28, 1), 3), ((None, 3, 224, 224), 1), ((8, None, None, 3), 3), ((None, 28, 28), None),
     ((None, 10), None), ((None, 8, 8, 16), None), (None, None)],
)  # fmt: skip
def test_images_are_told_by_their_channels(shape, axis):
    assert channel_axis(shape) == axis


def test_what_is_no_image_is_refused():
    data = Dataset.from_arrays(IMAGES.reshape(40, -1), x_test=IMAGES[:20].reshape(20, -1))
    schedule = Schedule(INDEX, 6, 1, 1e-3, 0, augment="flip")
    with pytest.raises(
        UnsupportedModelError, match=r"input 'input' takes float32 of shape \(324,\): leave out augment"
    ):
        Batches(data, schedule)


def test_nothing_is_changed_unless_it_is_asked_for():
    data = Dataset.from_arrays(IMAGES, x_test=IMAGES[:20])
    batch = Batches(data, Schedule(INDEX, 6, 1, 1e-3, 0)).changed(INDEX)
    assert not batch.changed
    assert (batch.inputs["input"] == IMAGES[INDEX]).all()
    assert AUGMENTATIONS[0] == "none"

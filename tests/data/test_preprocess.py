from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from deploykit.core.errors import DatasetError, SettingError
from deploykit.core.serial import dump, parse
from deploykit.data.preprocess import Preprocess, remedy

sizes = st.lists(st.integers(1, 64), min_size=1, max_size=3).map(tuple)
finite = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(
    st.builds(
        Preprocess, finite, finite, st.none() | sizes, st.none() | st.tuples(st.integers(1, 64), st.integers(1, 64))
    )
)
def test_it_survives_json_text(preprocess):
    assert Preprocess.from_json(parse(dump(preprocess))) == preprocess


def test_reshape_then_scale_then_offset():
    batch = np.arange(8, dtype=np.uint8).reshape(2, 4)
    out = Preprocess(scale=0.5, offset=-1, reshape=(2, 2, 1)).apply(batch)
    assert out.dtype == np.float32
    assert out.shape == (2, 2, 2, 1)
    np.testing.assert_array_equal(out.ravel(), np.arange(8) * 0.5 - 1)


def test_the_identity_leaves_values_and_dtype():
    batch = np.arange(4, dtype=np.uint8).reshape(2, 2)
    assert Preprocess().is_identity
    assert not Preprocess(scale=2).is_identity
    assert Preprocess().apply(batch) is batch


def test_resize_scales_bilinearly_and_keeps_channels_apart():
    image = np.zeros((1, 2, 2, 3), np.uint8)
    image[..., 0] = 100
    image[0, :, 1, 1] = 200
    out = Preprocess(resize=(4, 6)).apply(image)
    assert out.shape == (1, 4, 6, 3)
    assert (out[..., 0] == 100).all()
    assert (np.diff(out[0, 0, :, 1]) >= 0).all()
    assert out[0, 0, 0, 1] == 0
    assert out[0, 0, -1, 1] == 200
    assert (out[..., 2] == 0).all()


def test_an_empty_batch_keeps_its_form():
    assert Preprocess(scale=2, reshape=(4,)).apply(np.zeros((0, 2, 2))).shape == (0, 4)


@pytest.mark.parametrize(
    ("preprocess", "shape", "message"),
    [
        (Preprocess(reshape=(3, 3)), (2, 4), r"Cannot reshape examples of shape \(4,\) to \(3, 3\)\..*--reshape"),
        (Preprocess(resize=(4, 4)), (2, 8), r"resize needs images .*got examples of shape \(8,\)"),
    ],
)
def test_examples_that_do_not_fit(preprocess, shape, message):
    with pytest.raises(DatasetError, match=message):
        preprocess.apply(np.zeros(shape, np.float32))


def test_text_is_not_scaled():
    with pytest.raises(DatasetError, match="Text cannot be scaled"):
        Preprocess(scale=2).apply(np.array(["a", "b"]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": float("nan")}, r"scale must be a finite number, got nan"),
        ({"offset": "1"}, r"offset must be a finite number, got '1'"),
        ({"reshape": (28.5, 28)}, r"reshape must be the shape of one example.*got \(28\.5, 28\)"),
        ({"reshape": ()}, r"reshape must be"),
        ({"reshape": (-1,)}, r"reshape must be .* 1 or more, got \(-1,\)"),
        ({"resize": (28,)}, r"resize must be \(height, width\)"),
        ({"resize": "28"}, r"resize must be \(height, width\)"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(SettingError, match=message):
        Preprocess(**settings)


def test_a_single_number_is_a_flat_shape():
    assert Preprocess(reshape=784).reshape == (784,)
    assert Preprocess(reshape=[np.int64(28), 28]).reshape == (28, 28)


# -- channels, layout and axes ----------------------------------------------------------------------------------------

RGB = np.random.default_rng(0).integers(0, 256, (4, 8, 6, 3), dtype=np.uint8)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_the_whole_of_what_a_vision_model_takes():
    step = Preprocess(scale=1 / 255, mean=MEAN, std=STD, layout="channels_first", channels="reversed", resize=(5, 7))
    small = np.stack([np.asarray(Image.fromarray(p).resize((7, 5), Image.Resampling.BILINEAR)) for p in RGB])
    wanted = ((small[..., ::-1] / 255.0 - np.array(MEAN)) / np.array(STD)).transpose(0, 3, 1, 2)
    found = step.apply(RGB)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    # The same pictures with their channels first, for a model that takes them last.
    back = Preprocess(scale=1 / 255, mean=MEAN, std=STD, layout="channels_last", channels="reversed", resize=(5, 7))
    np.testing.assert_allclose(back.apply(np.moveaxis(RGB, -1, 1)), np.moveaxis(wanted, 1, -1), rtol=1e-5, atol=1e-5)


def test_one_number_for_all_channels_and_images_that_stay_channels_first():
    np.testing.assert_allclose(Preprocess(mean=100, std=50).apply(RGB), (RGB - 100.0) / 50, rtol=1e-6)
    first = np.moveaxis(RGB, -1, 1)
    wanted = first - np.array([1.0, 2, 3]).reshape(3, 1, 1)
    np.testing.assert_allclose(Preprocess(mean=(1, 2, 3)).apply(first), wanted)


@pytest.mark.parametrize(
    ("given", "wanted"), [(np.float64, np.float64), (np.float32, np.float32), (np.int64, np.float32)]
)
def test_float64_stays_float64(given, wanted):
    x = np.array([[1 / 3, 2.0]]).astype(given)
    found = Preprocess(scale=1 / 7, offset=0.1, mean=0.25, std=3).apply(x)
    assert found.dtype == wanted
    if wanted is np.float64:
        np.testing.assert_array_equal(found, (x * (1 / 7) + 0.1 - 0.25) / 3)


def test_an_explicit_order_of_axes():
    np.testing.assert_array_equal(Preprocess(transpose=(1, 2, 0)).apply(RGB), RGB.transpose(0, 2, 3, 1))
    series = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(Preprocess(transpose=[1, 0]).apply(series), series.transpose(0, 2, 1))


def test_a_reshape_that_exchanges_channels_moves_them():
    first = np.moveaxis(RGB, -1, 1)
    to_first, to_last = Preprocess(reshape=(3, 8, 6)), Preprocess(reshape=(8, 6, 3))
    assert to_first.moves_axes((8, 6, 3)) == (2, 0, 1)
    assert to_last.moves_axes((3, 8, 6)) == (1, 2, 0)
    assert to_first.moves_axes((3, 8, 6)) == to_first.moves_axes((144,)) == ()
    np.testing.assert_array_equal(to_first.apply(RGB), first)
    np.testing.assert_array_equal(to_last.apply(first), RGB)
    # Steps between see the channels last, whatever the reshape says.
    both = Preprocess(reshape=(3, 8, 6), mean=(1, 2, 3), resize=(4, 3)).apply(RGB)
    np.testing.assert_array_equal(both, Preprocess(layout="channels_first", mean=(1, 2, 3), resize=(4, 3)).apply(RGB))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ((28, 28), (28, 28, 1)), ((28, 28, 1), (1, 28, 28)), ((784,), (28, 28)), ((8, 6, 3), (144,)),
        ((8, 6, 3), (48, 3)), ((48, 3), (8, 6, 3)), ((4, 4), (2, 8)), ((4, 4), (4, 4)), ((6, 4), (2, 3, 4)),
    ],
)  # fmt: skip
def test_reshapes_that_join_and_split_are_plain(given, wanted):
    x = np.arange(2 * np.prod(given)).reshape(2, *given)
    np.testing.assert_array_equal(Preprocess(reshape=wanted).apply(x), x.reshape(2, *wanted))


@pytest.mark.parametrize(
    ("given", "wanted", "steps"),
    [
        ((10, 6), (6, 10), r"transpose=\(1, 0\) instead \(--transpose 1,0\)"),
        ((8, 6, 3), (3, 6, 8), r"transpose=\(2, 1, 0\)"),
        ((8, 6, 16), (16, 8, 6), r"transpose=\(2, 0, 1\)"),
        ((8, 6, 3), (3, 48), r"reshape=\(48, 3\), transpose=\(1, 0\)"),
        ((8, 8, 4), (4, 64), r"reshape=\(64, 4\), transpose=\(1, 0\)"),
        ((48, 3), (3, 8, 6), r"reshape=\(8, 6, 3\), transpose=\(2, 0, 1\)"),
        ((6, 4), (8, 3), r"reshape the examples yourself"),
    ],
)
def test_reshapes_that_cross_axes_are_refused_with_what_is_meant(given, wanted, steps):
    with pytest.raises(DatasetError, match=r"would move values from one axis to another.*" + steps):
        Preprocess(reshape=wanted).apply(np.zeros((2, *given)))


@pytest.mark.parametrize(
    ("step", "shape", "message"),
    [
        (Preprocess(layout="channels_first"), (3, 8, 6), r"already have their channels first"),
        (Preprocess(layout="channels_last"), (8, 6, 3), r"already have their channels last"),
        (Preprocess(layout="channels_first"), (28, 28), r"layout is for images with channels.*reshape=\(28, 28, 1\)"),
        (Preprocess(transpose=(2, 0, 1)), (4,), r"for examples of 3 axes, got examples of shape \(4,\)"),
        (Preprocess(mean=(1, 2, 3)), (8, 8, 1), r"mean has 3 values, examples of shape \(8, 8, 1\) have 1 channels"),
        (Preprocess(channels="reversed"), (8, 8, 1), r"Only images with three channels"),
    ],
)
def test_steps_for_other_examples(step, shape, message):
    with pytest.raises(DatasetError, match=message):
        step.apply(np.zeros((2, *shape), np.float32))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layout": "nchw"}, r"Unknown value for Preprocess: layout, 'nchw'.*channels_first, channels_last"),
        ({"channels": "bgr"}, r"Unknown value for Preprocess: channels"),
        ({"transpose": (0, 2)}, r"transpose must name every axis of one example once.*got \(0, 2\)"),
        ({"std": 0}, r"std must be a finite number above 0"),
        ({"std": (1, -1)}, r"std must be a finite number above 0"),
        ({"mean": (1, float("nan"))}, r"mean must be a finite number, or one for each channel"),
        ({"mean": "0.5"}, r"mean must be a finite number"),
        ({"mean": (1, 2), "std": (1, 2, 3)}, r"mean has 2 values, std has 3"),
        ({"layout": "channels_first", "transpose": (2, 0, 1)}, r"both layout and transpose"),
        ({"raw": True, "scale": 2}, r"raw values are the model's own integers"),
        ({"raw": 1}, r"raw must be true or false"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(SettingError, match=message):
        Preprocess(**settings)


def test_resizing_keeps_the_kind_of_numbers():
    wide = (RGB.astype(np.uint16) * 257)[..., :1]
    found = Preprocess(resize=(4, 3)).apply(wide)
    assert found.dtype == np.uint16
    planes = [Image.fromarray(p[..., 0].astype(np.float32)).resize((3, 4), Image.Resampling.BILINEAR) for p in wide]
    np.testing.assert_allclose(found[..., 0], np.stack(planes), atol=0.51)
    assert Preprocess(resize=(4, 3)).apply(RGB / 255.0).dtype == np.float64
    first = Preprocess(resize=(4, 3)).apply(np.moveaxis(RGB, -1, 1))
    np.testing.assert_array_equal(np.moveaxis(first, 1, -1), Preprocess(resize=(4, 3)).apply(RGB))
    same = Preprocess(resize=(8, 6)).apply(RGB)
    np.testing.assert_array_equal(same, RGB)


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (50, 20), (1, 40), (8, 12)])
def test_a_letterbox_keeps_the_shape_of_the_picture(shape):
    """As YOLO's tools have it: as large as it can be, in the middle, an odd row or column more behind it."""
    pixels = np.random.default_rng(0).integers(0, 256, (1, *shape, 3)).astype(np.uint8)
    step = Preprocess(resize=(8, 12), fit="letterbox")
    ratio = min(8 / shape[0], 12 / shape[1])
    high, wide = (max(1, round(side * ratio)) for side in shape)
    picture = Image.fromarray(pixels[0]).resize((wide, high), Image.Resampling.BILINEAR)
    left, top = (round((room - side) / 2 - 0.1) for room, side in ((12, wide), (8, high)))
    wanted = Image.new("RGB", (12, 8), (114, 114, 114))
    wanted.paste(picture, (left, top))
    np.testing.assert_array_equal(step.apply(pixels)[0], wanted)
    wide = Preprocess(resize=(8, 12), fit="letterbox", layout="channels_first").apply(pixels.astype(np.uint16) * 257)
    assert wide.dtype == np.uint16
    np.testing.assert_allclose(
        np.moveaxis(wide[0], 0, -1) / 257, np.asarray(wanted), atol=1
    )  # Pillow rounds bytes twice


def test_a_letterbox_must_know_its_size_and_what_gray_is():
    with pytest.raises(SettingError, match=r"fit='letterbox' needs the size to fit into.*give resize"):
        Preprocess(fit="letterbox")
    with pytest.raises(SettingError, match="letterbox"):
        Preprocess(resize=(4, 4), fit="crop")
    step = Preprocess(resize=(4, 4), fit="letterbox", scale=0.5)
    with pytest.raises(DatasetError, match="examples of dtype float32 do not say what gray is"):
        step.apply(np.zeros((1, 4, 8, 3), np.float32))
    assert step.apply(np.ones((1, 4, 4, 3), np.float32)).max() == 0.5
    assert Preprocess.from_json(step.to_json()) == step
    assert "resize to (4, 4) (between gray bars, bilinear, antialiased)" in step.words()
    assert step.code() == 'dk.Preprocess(scale=0.5, resize=(4, 4), fit="letterbox")'


def test_settings_as_words_code_and_json():
    step = Preprocess(
        scale=1 / 255, mean=np.array(MEAN), std=list(STD), layout="channels_first", resize=[4, 4], channels="reversed"
    )
    assert Preprocess.from_json(parse(dump(step))) == step
    assert eval(step.code(), {"dk": SimpleNamespace(Preprocess=Preprocess)}) == step
    assert step.words() == (
        "resize to (4, 4) (bilinear, antialiased)", "channels reversed", "× 0.003922", "mean (0.485, 0.456, 0.406)",
        "std (0.229, 0.224, 0.225)", "channels first",
    )  # fmt: skip
    assert Preprocess().words() == ()
    assert Preprocess.from_json({"scale": 0.5, "offset": 0.0, "reshape": None, "resize": None}) == Preprocess(0.5)


@pytest.mark.parametrize(
    ("wanted", "given", "line"),
    [
        ((3, 8, 6), (8, 6, 3), 'preprocess=dk.Preprocess(layout="channels_first") (--layout channels_first)'),
        ((8, 6, 3), (3, 8, 6), 'preprocess=dk.Preprocess(layout="channels_last") (--layout channels_last)'),
        ((3, None, None), (8, 6, 3), 'preprocess=dk.Preprocess(layout="channels_first") (--layout channels_first)'),
        ((224, 224, 3), (8, 6, 3), "preprocess=dk.Preprocess(resize=(224, 224)) (--resize 224,224)"),
        (
            (3, 224, 224), (8, 6, 3),
            'preprocess=dk.Preprocess(resize=(224, 224), layout="channels_first") '
            "(--resize 224,224 --layout channels_first)",
        ),
        ((28, 28, 1), (28, 28), "preprocess=dk.Preprocess(reshape=(28, 28, 1)) (--reshape 28,28,1)"),
        ((784,), (28, 28), "preprocess=dk.Preprocess(reshape=(784,)) (--reshape 784)"),
        ((6, 10), (10, 6), "preprocess=dk.Preprocess(transpose=(1, 0)) (--transpose 1,0)"),
        (
            (3, 48), (8, 6, 3),
            "preprocess=dk.Preprocess(reshape=(48, 3), transpose=(1, 0)) (--reshape 48,3 --transpose 1,0)",
        ),
        ((8, 6, 1), (8, 6, 3), "give gray images with 1 channel instead of 3."),
        ((7,), (5,), "give examples of the shape that the model takes."),
        ((None, 4), (9, 4), ""),
    ],
)  # fmt: skip
def test_remedies_are_the_line_to_write(wanted, given, line):
    assert remedy(wanted, given) == line


def test_a_remedy_keeps_the_settings_that_are_there():
    present = Preprocess(scale=0.5, resize=(8, 6), channels="reversed")
    assert remedy((3, 8, 6), (8, 6, 3), present.settings) == (
        'preprocess=dk.Preprocess(scale=0.5, resize=(8, 6), channels="reversed", layout="channels_first") '
        "(--layout channels_first)"
    )
    assert remedy((4, 3), (8, 6), {"reshape": (8, 6)}) == "give examples of the shape that the model takes."
    assert remedy((6, 8), (8, 6), {"reshape": (8, 6)}) == (
        "preprocess=dk.Preprocess(reshape=(8, 6), transpose=(1, 0)) (--transpose 1,0)"
    )
    assert remedy((48,), (8, 6), {"reshape": (8, 6), "scale": 2.0}) == (
        "preprocess=dk.Preprocess(reshape=(48,), scale=2.0) (--reshape 48)"
    )
    assert "transpose=(1, 0)) " in remedy((6, 8), (8, 6), {"layout": "channels_first"})


@given(st.permutations([5, 6, 7]), st.permutations([0, 1, 2]))
def test_a_remedy_for_exchanged_axes_gives_exactly_these_axes(shape, order):
    x = np.arange(210).reshape(1, *shape)
    wanted = x.transpose(0, *(i + 1 for i in order))
    line = remedy(wanted.shape[1:], tuple(shape))
    if line:
        code = line.removeprefix("preprocess=").partition(" (--")[0]
        step = eval(code, {"dk": SimpleNamespace(Preprocess=Preprocess)})
        np.testing.assert_array_equal(step.apply(x), wanted)
    else:
        assert wanted.shape == x.shape

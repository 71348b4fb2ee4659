import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploykit.core.errors import DatasetError, SettingError
from deploykit.core.preprocess import Preprocess
from deploykit.core.serial import dump, parse

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
        (Preprocess(reshape=(3, 3)), (2, 4), r"cannot reshape examples of shape \(4,\) to \(3, 3\)\..*--reshape"),
        (Preprocess(resize=(4, 4)), (2, 8), r"resize needs images .*got examples of shape \(8,\)"),
    ],
)
def test_examples_that_do_not_fit(preprocess, shape, message):
    with pytest.raises(DatasetError, match=message):
        preprocess.apply(np.zeros(shape, np.float32))


def test_text_is_not_scaled():
    with pytest.raises(DatasetError, match="text cannot be scaled"):
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

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deploykit.core.digest import array_digest, compressed_size, file_digest, json_digest, path_digest, path_size


def tree(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def test_a_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_digest(path) == path_digest(path) == known
    assert path_size(path) == 3


def test_a_folder_is_its_names_and_contents(tmp_path):
    one = tree(tmp_path / "one", {"a": b"1", "b/c": b"22"})
    assert path_digest(one) == path_digest(tree(tmp_path / "two", {"b/c": b"22", "a": b"1"}))
    assert path_digest(one) != path_digest(tree(tmp_path / "three", {"a": b"1", "b/d": b"22"}))
    assert path_digest(one) != path_digest(tree(tmp_path / "four", {"a": b"2", "b/c": b"22"}))
    assert path_size(one) == 3


def test_compressed_size_is_what_gzip_gives(tmp_path):
    folder = tree(tmp_path, {"a": b"0" * 100_000, "b/c": bytes(range(256)) * 50})
    expected = sum(len(gzip.compress(p.read_bytes(), 6)) for p in folder.rglob("*") if p.is_file())
    assert abs(compressed_size(folder) - expected) <= 4  # header bytes differ between Python versions
    assert compressed_size(folder / "a") < 500


@pytest.mark.parametrize("kept", [1.0, 0.7, 0.2])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_compressed_size_of_weights_is_near_what_gzip_gives_and_never_far_above(tmp_path, dtype, kept):
    weights = np.random.default_rng(0).normal(0, 40, 100_000)
    weights[np.abs(weights) < np.quantile(np.abs(weights), 1 - kept)] = 0
    (tmp_path / "weights").write_bytes(weights.clip(-127, 127).astype(dtype).tobytes())
    expected = len(gzip.compress((tmp_path / "weights").read_bytes(), 6))
    assert 0.95 * expected < compressed_size(tmp_path / "weights") < 1.02 * expected


def test_compressed_size_of_few_shared_values_is_not_more_than_gzip_gives(tmp_path):
    weights = np.random.default_rng(0).choice(np.linspace(-1, 1, 16), 100_000).astype("float32")
    (tmp_path / "weights").write_bytes(weights.tobytes())
    assert compressed_size(tmp_path / "weights") <= len(gzip.compress(weights.tobytes(), 6))


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans()))
def test_json_digest_ignores_the_order_of_keys(data):
    assert json_digest(data) == json_digest(dict(reversed(data.items())))


def test_json_digest_refuses_nan():
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_digest({"a": float("nan")})


@given(hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, min_side=0)))
def test_array_digest_is_of_dtype_shape_and_values(array):
    digest = array_digest(array)
    assert digest == array_digest(array.copy())
    assert digest != array_digest(array.reshape(*array.shape, 1, 1))
    if array.dtype.kind in "iu":
        assert digest != array_digest(array.astype(np.float32))


@pytest.mark.parametrize("change", [lambda a: a + 1, lambda a: a.T, lambda a: a.astype(np.int32), lambda a: a[:1]])
def test_array_digest_sees_every_change(change):
    array = np.arange(6).reshape(2, 3)
    assert array_digest(array) != array_digest(change(array))


def test_array_digest_ignores_memory_order():
    array = np.arange(6).reshape(2, 3)
    assert array_digest(array) == array_digest(np.asfortranarray(array))
    assert array_digest(np.array(["a", "ü"])) == array_digest(np.array(["a", "ü"]))

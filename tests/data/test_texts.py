import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deploykit.core.digest import array_digest
from deploykit.data.texts import open_array, save_array, with_objects, without_objects

items = st.lists(st.binary(max_size=6) | st.text(max_size=6), min_size=1, max_size=8)


def objects(values, shape=None):
    found = np.empty(len(values), object)
    found[:] = values
    return found.reshape(shape or found.shape)


@given(items)
def test_text_and_bytes_survive_an_npz(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("texts") / "a.npz"
    given_arrays = {"a::b": np.arange(3), "raw": objects(values), "z": np.array(["ä"])}
    np.savez(path, **without_objects(given_arrays))
    with np.load(path, allow_pickle=False) as file:
        found = with_objects({name: file[name] for name in file.files})
    assert list(found) == list(given_arrays)
    assert found["raw"].tolist() == values
    assert [type(v) for v in found["raw"]] == [type(v) for v in values]
    np.testing.assert_array_equal(found["a::b"], np.arange(3))


def test_a_saved_array_keeps_its_shape_and_is_not_pickled(tmp_path):
    array = objects([b"\xff\0", "a\0", "", b""], (2, 2))
    save_array(tmp_path / "a.npy", array)
    found = open_array(tmp_path / "a.npy")
    assert found.tolist() == array.tolist()
    assert found.shape == (2, 2)
    assert array_digest(found) == array_digest(array)
    assert array_digest(objects([b"\xff", "\0a\0", "", b""], (2, 2))) != array_digest(array)
    assert array_digest(objects(["", b""])) != array_digest(objects([b"", ""]))

"""Arrays in files of NumPy, as people really have them."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from deploykit.core.errors import DatasetError
from deploykit.core.model import Model, TensorSpec
from deploykit.data.dataset import Dataset
from deploykit.data.preprocess import Preprocess

X, Y = np.arange(120, dtype=np.float32).reshape(60, 2), np.arange(60) % 3


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


def test_npz_with_x_and_y(tmp_path):
    data = Dataset.from_npz(npz(tmp_path / "d.npz", x=X, y=Y), calibration_size=5)
    assert len(data) == 60
    assert data.labels().dtype == np.int64
    assert len(data.calibration()["input"]) == 5


def test_npz_with_train_and_test_and_classes(tmp_path):
    path = npz(tmp_path / "d.npz", x_train=X, y_train=Y, x_test=X + 0.5, y_test=Y, classes=np.array(["a", "b", "c"]))
    data = Dataset.from_npz(path)
    assert len(data.splits["train"]) == 60
    assert data.classes == ("a", "b", "c")
    assert (data.splits["evaluation"].inputs["input"] % 1 == 0.5).all()
    assert Dataset.from_npz(path, classes=["p", "q", "r"]).classes == ("p", "q", "r")


def test_npz_with_other_names(tmp_path):
    path = npz(tmp_path / "d.npz", images=X, targets=Y, x_train=X[:20], y_train=Y[:20])
    data = Dataset.from_npz(path, x_key="images", y_key="targets")
    assert len(data) == 60
    assert data.labelled


def test_npz_without_labels(tmp_path):
    assert not Dataset.from_npz(npz(tmp_path / "d.npz", x=X)).labelled


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"y": Y}, {}, r"has no array 'x'; it has y\..*--x-key"),
        ({"x": X, "y": Y}, {"y_key": "labels"}, r"has no array 'labels'; it has x, y"),
        ({"x": X, "y": Y}, {"x_key": "examples"}, r"has no array 'examples'"),
        ({}, {}, r"has no array 'x'; it has none"),
        ({"x": np.zeros((0, 2)), "y": np.zeros(0)}, {}, r"x is empty: 0 examples"),
    ],
)
def test_npz_with_missing_arrays(tmp_path, arrays, options, message):
    with pytest.raises(DatasetError, match=message):
        Dataset.from_npz(npz(tmp_path / "d.npz", **arrays), **options)


def test_pickled_arrays_are_refused_and_not_run(tmp_path):
    marker = tmp_path / "was run"
    path = npz(tmp_path / "d.npz", x=np.array([Trap(marker)], object), y=Y)
    with pytest.raises(DatasetError, match=r"d\.npz cannot be read: Object arrays cannot be loaded.*not objects"):
        Dataset.from_npz(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "content", [b"", b"x,y\n1,2\n", os.urandom(300), b"\x80\x04\x95"], ids=["empty", "csv", "random", "pickle"]
)
def test_files_that_are_no_npz(tmp_path, content):
    path = tmp_path / "d.npz"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"d\.npz is not an \.npz file.*numpy\.savez"):
        Dataset.from_npz(path)


def test_a_damaged_npz(tmp_path):
    path = tmp_path / "d.npz"
    np.savez_compressed(path, x=np.random.default_rng(0).normal(size=(60, 20)), y=Y)
    content = bytearray(path.read_bytes())
    content[200:400] = b"\0" * 200
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"d\.npz cannot be read"):
        Dataset.from_npz(path)


def test_an_npz_that_claims_a_huge_array(tmp_path):
    path = tmp_path / "d.npz"
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,), }".ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(DatasetError, match=r"d\.npz cannot be read"):
        Dataset.from_npz(path)


@pytest.mark.parametrize("name", ["labels", "Y", "y_val", "target", "Label", "train_labels", "y_true"])
def test_npz_labels_under_another_name(tmp_path, name):
    data = Dataset.from_npz(npz(tmp_path / "d.npz", x=X, **{name: Y}))
    assert data.labelled
    assert data.reading.labels == f"array {name}: class indices"
    for split in data.splits.values():
        np.testing.assert_array_equal(split.inputs["input"][:, 0] // 2 % 3, split.labels)


def test_npz_with_one_array_for_each_input(tmp_path):
    tokens, mask = np.arange(240).reshape(60, 4), np.ones((60, 4), np.int8)
    path = npz(tmp_path / "d.npz", input_ids=tokens, mask=mask, y=Y, mean=np.zeros(3), version=2)
    data = Dataset.from_npz(path)
    assert {k: v.dtype.name for k, v in data.splits["test"].inputs.items()} == {"input_ids": "int64", "mask": "int8"}
    assert data.reading.left_out == (
        "array mean (3,): not an input and not labels", "array version (): not an input and not labels",
    )  # fmt: skip
    one = Dataset.from_npz(npz(tmp_path / "one.npz", images=X, y=Y))
    assert one.inputs == ("images",)
    parted = Dataset.from_npz(
        npz(
            tmp_path / "p.npz", a_train=X, b_train=X[:, :1], y_train=Y, a_test=X + 0.5, b_test=X[:, :1] + 0.5, y_test=Y
        )
    )  # fmt: skip
    assert parted.inputs == ("a", "b")
    assert len(parted.splits["train"]) == 60
    assert (parted.splits["test"].inputs["b"] % 1 == 0.5).all()
    assert parted.reading.given_apart


def test_npz_parts_under_other_names(tmp_path):
    held = Dataset.from_npz(npz(tmp_path / "v.npz", x_train=X, y_train=Y, x_val=X + 0.5, y_val=Y))
    assert (held.splits["test"].inputs["input"] % 1 == 0.5).all()
    assert "validation arrays are used as the held-out examples" in held.reading.notes[0]
    three = Dataset.from_npz(npz(tmp_path / "t.npz", x_train=X, y_train=Y, x_val=X, y_val=Y, x_test=X + 0.5, y_test=Y))
    assert (three.splits["test"].inputs["input"] % 1 == 0.5).all()
    assert [line.split()[1] for line in three.reading.left_out] == ["x_val", "y_val"]
    alone = Dataset.from_npz(npz(tmp_path / "a.npz", x_test=X, y_test=Y))
    assert len(alone) == 60
    assert alone.labelled
    other = Dataset.from_npz(
        npz(tmp_path / "o.npz", train_images=X, train_labels=Y, test_images=X + 0.5, test_labels=Y)
    )
    assert (other.splits["test"].inputs["images"] % 1 == 0.5).all()
    assert other.labelled


def test_npz_keys_name_several_arrays_and_no_labels(tmp_path):
    path = npz(tmp_path / "d.npz", x=X, mask=X[:, :1], y=Y)
    assert Dataset.from_npz(path, x_key="x,mask").inputs == ("x", "mask")
    assert Dataset.from_npz(path, x_key=["mask", "x"]).inputs == ("mask", "x")
    assert Dataset.from_npz(path).reading.left_out == ("array mask (60, 1): not an input and not labels",)
    assert not Dataset.from_npz(path, y_key="").labelled
    kinds = npz(tmp_path / "k.npz", x=X, kinds=Y)
    assert Dataset.from_npz(kinds, y_key="kinds").labelled
    assert not Dataset.from_npz(kinds, y_key="").labelled


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X, "labels": Y, "target": Y}, r"array labels .* and array target .* each of them could be the .*y_key"),
        ({"x": X, "Y": Y, "labels": Y}, r"array Y \(60,\) and array labels \(60,\): each of them"),
        ({"x": X, "y_val": Y[:30]}, r"array y_val \(30,\): it could be the labels, but not of 60 examples"),
        ({"x": X, "kinds": Y}, r"array kinds \(60,\): it could be the labels of x.*y_key=.*x_key="),
        ({"x": X, "y": Y, "label": Y}, r"array y .* and array label .*: each of them"),
        ({"arr_0": X, "arr_1": Y}, r"array arr_0 .* and array arr_1 .*: each of them could be .*x_key= and y_key="),
        ({"x_train": X, "y_train": Y, "x_test": X, "y_val": Y}, r"y is given, y_test is not"),
        ({"x": X, "y": Y[:50]}, r"x has 60 examples, y has 50 labels"),
    ],
)  # fmt: skip
def test_npz_that_can_be_read_in_two_ways_is_refused(tmp_path, arrays, message):
    with pytest.raises(DatasetError, match=message):
        Dataset.from_npz(npz(tmp_path / "d.npz", **arrays))


def test_npz_arrays_beside_x_are_inputs_of_a_model_that_takes_them(tmp_path):
    mask = (X[:, :1] > 30).astype(np.float32)
    two = Model("/n.onnx", "onnx", (TensorSpec("h", (None, 1), "float32"), TensorSpec("x", (None, 2), "float32")), (
        TensorSpec("o", (None, 3), "float32"),), (), 0, 0, "")  # fmt: skip
    data = Dataset.from_npz(npz(tmp_path / "d.npz", x=X, h=mask, y=Y, other=Y), preprocess=Preprocess(scale=2))
    assert data.inputs == ("input",)
    fit = data.check(two)
    assert fit.inputs == ("h", "x")
    assert fit.reading.left_out == ("array other (60,): not an input and not labels",)
    for split in fit.splits.values():
        np.testing.assert_array_equal(split.inputs["h"][:, 0], split.inputs["x"][:, 0] > 30)
    assert fit.batch()["h"].max() == 2
    parted = npz(tmp_path / "p.npz", x_train=X, h_train=mask, y_train=Y, x_test=X, h_test=mask, y_test=Y)
    assert Dataset.from_npz(parted).check(two).inputs == ("h", "x")


def test_npz_arrays_that_a_model_does_not_take_are_named(tmp_path):
    one = Model("/n.onnx", "onnx", (TensorSpec("images", (None, 2), "float32"),), (
        TensorSpec("o", (None, 3), "float32"),), (), 0, 0, "")  # fmt: skip
    fit = Dataset.from_npz(npz(tmp_path / "d.npz", images=X, weights=X[:, 0], labels=Y)).check(one)
    assert fit.inputs == ("images",)
    assert fit.reading.left_out == ("array weights: not an input of the model",)


def test_npz_parts_that_are_just_called_train_and_test(tmp_path):
    data = Dataset.from_npz(npz(tmp_path / "d.npz", train=X, test=X + 0.5, train_labels=Y, test_labels=Y))
    assert (data.splits["test"].inputs["input"] % 1 == 0.5).all()
    assert data.labelled


def test_npz_arrays_that_are_only_called_like_a_part(tmp_path):
    data = Dataset.from_npz(npz(tmp_path / "d.npz", a=X, train_mask=X, dev_id=X[:, 0], y=Y))
    assert data.inputs == ("a", "train_mask", "dev_id")


def test_class_indices_called_classes_are_labels_and_not_names(tmp_path):
    path = npz(tmp_path / "d.npz", x=X, y=Y, class_names=np.array(["p", "q", "r"]))
    assert Dataset.from_npz(path).classes == ("p", "q", "r")

"""Files and folders of data, as people really have them."""

import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploykit.core.dataset import Dataset
from deploykit.core.errors import DatasetError
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task

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


# -- npz ------------------------------------------------------------------------------------------------------------


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
        ({"images": X, "y": Y}, {}, r"has no array 'x'; it has images, y\..*--x-key"),
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


@pytest.mark.parametrize("reader", [Dataset.from_npz, Dataset.from_csv, Dataset.from_image_folder])
def test_missing_data(tmp_path, reader):
    with pytest.raises(DatasetError, match=r"no such data: '.*nothing here'"):
        reader(tmp_path / "nothing here")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no FIFOs")
@pytest.mark.parametrize("reader", [Dataset.from_npz, Dataset.from_csv])
def test_a_fifo_does_not_hang(tmp_path, reader):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DatasetError, match=r"pipe is not a regular file"):
        reader(tmp_path / "pipe")


def test_a_folder_is_no_csv(tmp_path):
    with pytest.raises(DatasetError, match=r"is not a regular file"):
        Dataset.from_csv(tmp_path)


# -- csv ------------------------------------------------------------------------------------------------------------


def csv(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def rows(header, line, count=60):
    return "\n".join([header, *(line.format(i=i, c="xyz"[i % 3], n=i % 3) for i in range(count))]) + "\n"


@pytest.mark.parametrize(
    ("text", "options", "classes", "labels"),
    [
        (rows("a,b,label", "{i},{i}.5,{n}"), {}, (), [0, 1, 2]),
        (rows("a,b,Class", "{i},{i}.5,{c}"), {}, ("x", "y", "z"), [0, 1, 2]),
        (rows("kind,a,b", "{c},{i},{i}.5"), {"label": "kind"}, ("x", "y", "z"), [0, 1, 2]),
        ("\ufeff" + rows("a, b, y", "{i},{i}.5,{n}\n"), {}, (), [0, 1, 2]),
        (rows("a,b,target", "{i},{i}.5,{n}.25"), {}, (), [0.25, 1.25, 2.25]),
    ],
    ids=["whole numbers", "text", "named column", "byte order mark and blank lines", "regression"],
)
def test_csv(tmp_path, text, options, classes, labels):
    data = Dataset.from_csv(csv(tmp_path / "d.csv", text), **options)
    assert len(data) == 60
    assert data.classes == classes
    assert sorted({v.item() for s in data.splits.values() for v in s.labels}) == labels
    assert data.sample(1).shape == (1, 2)
    for split in data.splits.values():
        np.testing.assert_array_equal(split.inputs["input"][:, 1], split.inputs["input"][:, 0] + 0.5)


def test_csv_without_a_label_column(tmp_path):
    data = Dataset.from_csv(csv(tmp_path / "d.csv", rows("a,b", "{i},{n}")))
    assert not data.labelled
    assert data.sample(1).shape == (1, 2)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, r"d\.csv is empty: it has no rows"),
        ("a,b,label\n", {}, r"d\.csv is empty: it has no rows below its header"),
        ("a,b,label\n1,2,0\n1,x,0\n", {}, r"d\.csv, line 3, column 'b': 'x' is not a number.*--label"),
        ("a,b,label\n1,2\n", {}, r"d\.csv, line 2: 2 cells, the header has 3"),
        ("a,b,label\n1,2,\n", {}, r"d\.csv, line 2: the label is empty"),
        ("a,b,c\n1,2,0\n", {"label": "kind"}, r"d\.csv has no column 'kind'; it has a, b, c"),
        (rows("a,label", "nan,{n}"), {}, r"x holds NaN or infinite values in 60 of 60"),
        (rows("label", "{n}"), {}, r"the examples of input are empty"),
        ("a,label\n1,0\n", {}, r"too few examples: 1 leave 1"),
        ("a,label\n\x00" + "9" * 200_000 + ",0\n", {}, r"d\.csv is not a CSV file: field larger than field limit"),
    ],
)
def test_broken_csv(tmp_path, text, options, message):
    with pytest.raises(DatasetError, match=message):
        Dataset.from_csv(csv(tmp_path / "d.csv", text), **options)


def test_csv_that_is_not_utf8(tmp_path):
    path = csv(tmp_path / "d.csv", rows("größe,label", "{i},{n}"), "latin-1")
    with pytest.raises(DatasetError, match=r"d\.csv is not a CSV file: .*utf-8.*save it as UTF-8"):
        Dataset.from_csv(path)


# -- images ---------------------------------------------------------------------------------------------------------


def pictures(folder, classes=("cat", "dog"), count=20, size=(8, 6), mode="L"):
    for shade, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            color = shade * 100 + i
            Image.new(mode, (size[1], size[0]), color if mode == "L" else (color, 0, 255)).save(
                folder / name / f"{i}.png"
            )
    return folder


def test_images_by_class(tmp_path):
    pictures(tmp_path)
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    data = Dataset.from_image_folder(tmp_path)
    assert data.classes == ("cat", "dog")
    assert data.sample(1).shape == (1, 8, 6, 1)
    assert len(data) == 40
    for split in data.splits.values():
        np.testing.assert_array_equal(split.inputs["input"][:, 0, 0, 0] >= 100, split.labels == 1)


def test_images_with_train_and_test_folders(tmp_path):
    pictures(tmp_path / "train", mode="RGB")
    pictures(tmp_path / "test", mode="RGB")
    data = Dataset.from_image_folder(tmp_path, size=(4, 4))
    assert len(data.splits["train"]) == 40
    assert data.sample(1).shape == (1, 4, 4, 3)
    assert (data.sample(1)[..., 2] == 255).all()


def test_images_of_several_sizes_and_modes_become_one_form(tmp_path):
    pictures(tmp_path)
    Image.new("RGBA", (20, 30), (9, 9, 9, 255)).save(tmp_path / "cat" / "odd.png")
    Image.new("P", (6, 8)).save(tmp_path / "dog" / "odd.gif")
    data = Dataset.from_image_folder(tmp_path)
    assert data.sample(1).shape == (1, 8, 6, 3)
    assert len(data) == 42


def test_the_order_of_classes_can_be_given(tmp_path):
    data = Dataset.from_image_folder(pictures(tmp_path), classes=["dog", "cat"])
    assert data.classes == ("dog", "cat")
    split = data.splits["evaluation"]
    np.testing.assert_array_equal(split.inputs["input"][:, 0, 0, 0] >= 100, split.labels == 0)


def test_folders_that_cannot_be_used(tmp_path):
    empty = tmp_path / "empty"
    (empty / "cat").mkdir(parents=True)
    (tmp_path / "flat").mkdir()
    (tmp_path / "file").write_text("")
    broken = pictures(tmp_path / "broken")
    (broken / "cat" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    pictures(tmp_path / "unequal" / "train")
    pictures(tmp_path / "unequal" / "test", ("cat", "owl"))
    for path, options, message in [
        (empty, {}, r"empty holds no images \(\.bmp"),
        (tmp_path / "flat", {}, r"flat has no class folders.*one sub-folder for each class"),
        (tmp_path / "file", {}, r"file is not a folder"),
        (broken, {}, r"3\.png is not a readable image"),
        (tmp_path / "unequal", {}, r"holds the folder 'owl', which is none of the classes \['cat', 'dog'\]"),
        (pictures(tmp_path / "named"), {"classes": ["cat"]}, r"holds the folder 'dog', which is none of the classes"),
    ]:
        with pytest.raises(DatasetError, match=message):
            Dataset.from_image_folder(path, **options)


# -- tf.data --------------------------------------------------------------------------------------------------------


@pytest.fixture
def from_tf(monkeypatch):
    """Runs one of the functions of ``tf_forms.py`` in a child that has TensorFlow."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))

    def run(form):
        return shared().run(Task("tf_forms:read", {"form": form}, group="tensorflow", name=f"tf.data {form}"))

    return run


@pytest.mark.parametrize(
    "form",
    [
        "single",
        "batched",
        "full_batches",
        "one_hot",
        "one_hot_batched",
        "dictionary",
        "unlabelled",
        "unlabelled_batched",
        "text",
        "unlabelled_told",
    ],
)
def test_tf_data_in_every_form(from_tf, form):
    found = from_tf(form)
    assert found["count"] == 60
    assert found["shapes"] == ([[4, 3], [2]] if form == "dictionary" else [[]] if form == "text" else [[4, 3]])
    assert found["labels"] == ([] if form.startswith("unlabelled") else [0, 1, 2])


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("endless", r"infinite.*\.take\(n\)"),
        ("empty", r"the tf\.data\.Dataset is empty"),
        ("pair_of_inputs", r"the elements of the tf\.data\.Dataset are .*a dictionary of tensors"),
        ("ragged", r"the elements of the tf\.data\.Dataset are .*Ragged"),
    ],
)
def test_tf_data_that_cannot_be_used(from_tf, form, message):
    with pytest.raises(DatasetError, match=message):
        from_tf(form)
